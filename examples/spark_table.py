"""The exact minimum on a Spark table: every partition makes one partial sum, by mapInArrow.

    pip install ".[spark]"              # and Java 17 or later
    python examples/spark_table.py      # a local session; spark-submit takes it as it is

Ends with an error where Spark and the rows in memory give two answers.
"""

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession

from mtpfast import FeatureSpace, in_parts, minimum_poisoning


def main():
    rng = np.random.default_rng(0)
    X = rng.random((2000, 4))
    y = np.where(X @ [1.0, -1.0, 0.5, 0.0] + 0.2 * rng.normal(size=2000) > 0.2, 1, -1)
    asked = {"C": 0.01, "feasible_set": FeatureSpace(np.zeros(4), 1.0)}
    target = np.array([1.0, -1.0, -0.5, 0.5, 0.1])
    spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    table = spark.createDataFrame(pd.DataFrame(X, columns=list("abcd")).assign(label=y)).repartition(3)
    result = minimum_poisoning(in_parts(table, "label"), None, target, **asked)
    here = minimum_poisoning(X, y, target, **asked)
    print(f"Spark {spark.version}: {result.status}, {result.n_points} points, {result.lower_bound} proved necessary")
    spark.stop()
    if (result.n_points, result.lower_bound) != (here.n_points, here.lower_bound):
        raise SystemExit(f"in memory there are {here.n_points} points, {here.lower_bound} proved necessary")


if __name__ == "__main__":
    main()
