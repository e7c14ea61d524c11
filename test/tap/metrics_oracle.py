#!/usr/bin/python3
"""The figures of an evaluation by scikit-learn: metrics_oracle.py KIND FILE.

FILE is CSV without a header. KIND propensity, value: prediction, target. KIND poisson, gamma, tweedie: the same,
with the mean deviance. KIND affinity: target, then one probability a class; the first line names the classes.
Prints "metric value" lines.
"""
import csv
import sys

import numpy as np
from sklearn import metrics

kind, path = sys.argv[1:]
rows = list(csv.reader(open(path)))


def gains(target, order):
    """Area under the cumulative share of the target, rows taken in this order."""
    return (np.cumsum(target[order]) / target.sum()).mean()


if kind == "affinity":
    names = np.array(rows[0][1:])
    target = np.array([row[0] for row in rows[1:]])
    p = np.array([row[1:] for row in rows[1:]], dtype=float)
    codes = np.searchsorted(names, target)
    figures = {
        "accuracy": metrics.accuracy_score(codes, p.argmax(axis=1)),
        "log_loss": metrics.log_loss(codes, p, labels=range(len(names)), eps=1e-15),
        "macro_auc": np.mean([metrics.roc_auc_score(codes == i, p[:, i]) for i in range(len(names))]),
    }
else:
    p, y = np.array(rows, dtype=float).T
    if kind == "propensity":
        fpr, tpr, _ = metrics.roc_curve(y, p)
        figures = {
            "auc": metrics.roc_auc_score(y, p),
            "log_loss": metrics.log_loss(y, p),
            "brier": metrics.brier_score_loss(y, p),
            "ks": (tpr - fpr).max(),
            "average_precision": metrics.average_precision_score(y, p),
        }
    else:
        figures = {
            "rmse": metrics.mean_squared_error(y, p) ** 0.5,
            "mae": metrics.mean_absolute_error(y, p),
            "r2": metrics.r2_score(y, p),
        }
        if len(np.unique(p)) == len(p) and (y >= 0).all():
            random = (1 + 1 / len(y)) / 2
            figures["gini"] = (gains(y, np.argsort(-p)) - random) / (gains(y, np.argsort(-y)) - random)
    deviance = {"poisson": metrics.mean_poisson_deviance, "gamma": metrics.mean_gamma_deviance,
                "tweedie": lambda a, b: metrics.mean_tweedie_deviance(a, b, power=1.5)}
    if kind in deviance:
        figures["deviance"] = deviance[kind](y, p)
for name, value in figures.items():
    print(name, repr(float(value)))
