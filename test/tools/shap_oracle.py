#!/usr/bin/python3
"""Our trees in XGBoost: are its margins and its exact Shapley values (pred_contribs) ours?

usage: shap_oracle.py DUMP ROWS
DUMP is what model_dump prints; ROWS are JSON lines {"row": {column: value}, "margins": [...], "explained": n,
"contributions": {feature: value, "(base)": value}}, contributions being to the n-th margin.
Prints the number of rows, the largest gap of a margin and the largest gap of a contribution or base, both relative
to the largest margin where that is above 1.

XGBoost computes in single precision, and its rounding of one sum over all trees would be most of the gap: so it is
asked tree by tree, and the sums are made here.
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



def by_tree(**what):
    """Sum of what XGBoost says of each round of trees."""
    return sum(booster[i:i + 1].predict(data, **what).astype("float64") for i in range(booster.num_boosted_rounds()))


margins = by_tree(output_margin=True).reshape(len(rows), len(bases)) + bases
ours = np.array([row["margins"] for row in rows])
theirs = by_tree(pred_contribs=True).reshape(len(rows), len(bases), len(features) + 1)
unit = max(1, np.abs(ours).max())
worst = 0
for number, row in enumerate(rows):
    own = np.array([row["contributions"][feature["name"]] for feature in features] + [row["contributions"]["(base)"]])
    expected = theirs[number, row["explained"]]
    expected[-1] += bases[row["explained"]]
    worst = max(worst, np.abs(own - expected).max())
print(len(rows), f"{np.abs(margins - ours).max() / unit:.2e}", f"{worst / unit:.2e}")
