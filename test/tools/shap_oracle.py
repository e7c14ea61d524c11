#!/usr/bin/python3
"""Our trees in XGBoost: are its margins and its exact Shapley values (pred_contribs) ours?

usage: shap_oracle.py DUMP ROWS
DUMP is what model_dump prints; ROWS are JSON lines {"row": {column: value}, "margins": [...], "explained": n,
"contributions": {feature: value, "(base)": value}}, contributions being to the n-th margin.
Prints the number of rows, the largest gap of a margin and the largest gap of a contribution or base.

XGBoost computes both in single precision, so that the gaps are its rounding, not ours.
"""
import json
import os
import sys
import tempfile

import numpy as np
import xgboost as xgb

dump = json.load(open(sys.argv[1]))
rows = [json.loads(line) for line in open(sys.argv[2])]
features, bases = dump["features"], np.array(dump["bases"])


def cell(feature, value):
    if value is None:
        return np.nan
    if "levels" not in feature:
        return float(value)
    levels = feature["levels"]
    return 1 + (levels.index(value) if value in levels else len(levels))


matrix = np.array([[cell(feature, row["row"][feature["name"]]) for feature in features] for row in rows], dtype="float32")
with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
    json.dump(dump["xgboost"], file)
booster = xgb.Booster(model_file=file.name)
os.unlink(file.name)
data = xgb.DMatrix(matrix, feature_types=["c" if "levels" in feature else "float" for feature in features],
                   enable_categorical=True)

margins = booster.predict(data, output_margin=True).reshape(len(rows), len(bases)) + bases
ours = np.array([row["margins"] for row in rows])
theirs = booster.predict(data, pred_contribs=True).reshape(len(rows), len(bases), len(features) + 1)
worst = 0
for number, row in enumerate(rows):
    own = np.array([row["contributions"][feature["name"]] for feature in features] + [row["contributions"]["(base)"]])
    expected = theirs[number, row["explained"]].astype("float64")
    expected[-1] += bases[row["explained"]]
    worst = max(worst, np.abs(own - expected).max())
print(len(rows), f"{np.abs(margins - ours).max():.2e}", f"{worst:.2e}")
