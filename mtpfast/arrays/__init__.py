"""The ground: checks of input, labels, rows, rounding, arrays that grow."""
