"""Newton's method for the multipliers of equation (4) of ``proofs/pointwise.py``, of many rows at a time."""

from __future__ import annotations

import numpy as np

__all__ = ["newton"]


STEPS = 8  # of Newton's method, after each new line


@np.errstate(all="ignore")  # of a step that is not finite, or proves less, nothing is taken
def newton(soft, c, p, a, mu, tau, lam, heat):
    """Newton's method for (4) plus ``heat`` times the logarithms of mu, 1 - sum mu, tau, lam and pi."""
    K, T = mu.shape
    free, P = soft.case.has_margin, len(soft.limits)
    width = soft.hull.upper - soft.hull.lower
    pi = np.maximum(soft.pi[:, :P], heat[:, None] / (1.0 + np.abs(soft.limits)))

    def evaluate(mu, tau, lam, pi):
        soft.pi = pi
        soft.at((mu * c).sum(axis=1), (mu[:, None] @ p)[:, 0], tau, lam, heat)
        barrier = np.log(mu).sum(axis=1) + np.log1p(-mu.sum(axis=1)) + np.log(tau) + np.log(pi).sum(axis=1)
        return soft.value + heat * (barrier + (np.log(lam) if free else 0.0))

    value = evaluate(mu, tau, lam, pi)
    diagonal = np.arange(T)
    B = np.concatenate([-p, a[:, None]], axis=1)  # what mu and tau multiply
    grouped = soft.hull.order is not None
    planes = np.broadcast_to(soft.planes * width, (K, *soft.planes.shape))
    for _ in range(STEPS):
        slack = 1.0 - mu.sum(axis=1)
        theta = soft.mean
        gradient = np.empty((K, T + 2 + P))
        gradient[:, : T + 1] = (B @ theta[:, :, None])[:, :, 0]
        gradient[:, :T] += c + heat[:, None] * (1.0 / mu - 1.0 / slack[:, None])
        gradient[:, T] += heat / tau - soft.offset
        gradient[:, T + 1] = soft.pushed - soft.M[:, 0] * soft.kappa + heat / lam if free else 0.0
        gradient[:, T + 2 :] = soft.z @ soft.planes.T - soft.limits + heat[:, None] / pi
        # Both ends bend by 1 / 2k; the choice between them by the spread of what they add: move, of B and of the rest.
        bend, move = 1.0 / (2.0 * soft.k), soft.on - soft.off
        bend[:, -1] *= soft.interval is None  # an end of an interval does not bend
        spread = (soft.share if grouped else soft.share * (1.0 - soft.share)) / heat[:, None]
        rest = np.concatenate([(soft.push_on * soft.on - soft.push_off * soft.off)[:, None], planes], axis=1)
        H = np.empty((K, T + 2 + P, T + 2 + P))
        H[:, : T + 1, : T + 1] = (B * (bend + move * move * spread)[:, None]) @ B.transpose(0, 2, 1)
        across = rest * (move * spread)[:, None]
        across[:, 0] += bend * (soft.push_off + soft.share * (soft.push_on - soft.push_off))
        H[:, T + 1 :, : T + 1] = across @ B.transpose(0, 2, 1)
        H[:, T + 1 :, T + 1 :] = (rest * spread[:, None]) @ rest.transpose(0, 2, 1)
        squares = soft.push_off**2 + soft.share * (soft.push_on**2 - soft.push_off**2)
        H[:, T + 1, T + 1] += (bend * squares).sum(axis=1)
        H[:, : T + 1, T + 1 :] = H[:, T + 1 :, : T + 1].transpose(0, 2, 1)
        if grouped:
            order, starts = soft.hull.order, soft.hull.starts
            moves = np.concatenate([B * (move * soft.share)[:, None], rest * soft.share[:, None]], axis=1)
            mean = np.add.reduceat(moves[:, :, order], starts, axis=2)
            H -= (mean / heat[:, None, None]) @ mean.transpose(0, 2, 1)
        H[:, :T, :T] += (heat / slack**2)[:, None, None]
        H[:, diagonal, diagonal] += heat[:, None] / mu**2
        H[:, T, T] += heat / tau**2
        if free:
            H[:, T + 1, T + 1] += heat / lam**2
        else:
            H[:, T + 1], H[:, :, T + 1], H[:, T + 1, T + 1] = 0.0, 0.0, 1.0
        of_pi = np.arange(T + 2, T + 2 + P)
        H[:, of_pi, of_pi] += heat[:, None] / pi**2
        # Far lines leave sums of squares that round below what the barrier alone has.
        least = heat[:, None] / np.column_stack([mu, tau, np.where(free, lam, np.sqrt(heat)), pi]) ** 2
        scale = np.sqrt(np.maximum(np.einsum("kii->ki", H), least))
        H /= scale[:, :, None] * scale[:, None]
        H[:, np.arange(T + 2 + P), np.arange(T + 2 + P)] += 1e-10
        step = _solved(H, gradient / scale) / scale
        step[~np.isfinite(step).all(axis=1)] = 0.0
        gain = (gradient * step).sum(axis=1)
        if np.max(gain / heat) < 0.1:
            break
        at = np.column_stack([mu, tau, lam, pi, slack])
        to = np.column_stack([step, -step[:, :T].sum(axis=1)])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            room = np.where(to < 0.0, -at / to, np.inf).min(axis=1)
        length = np.minimum(1.0, 0.95 * room)
        for _ in range(6):
            trial = _moved(mu, tau, lam, pi, length, step)
            trial_value = evaluate(*trial)
            short = ~(trial_value >= value + 1e-4 * length * gain - 1e-9 * np.abs(value))
            if not np.any(short):
                break
            length = np.where(short, 0.3 * length, length)
        length = np.where(short, 0.0, length)
        mu, tau, lam, pi = _moved(mu, tau, lam, pi, length, step)
        value = evaluate(mu, tau, lam, pi)
    return mu, tau, lam, pi


def _solved(H, b):
    """The solutions of ``H[i] x[i] = b[i]``, NaN where H[i] is singular."""
    try:
        return np.linalg.solve(H, b[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        if len(b) == 1:
            return np.full_like(b, np.nan)
        return np.concatenate([_solved(H[i : i + 1], b[i : i + 1]) for i in range(len(b))])


def _moved(mu, tau, lam, pi, length, step):
    T, far = mu.shape[1], length[:, None] * step
    return mu + far[:, :T], tau + far[:, T], lam + far[:, T + 1], pi + far[:, T + 2 :]
