#!/usr/bin/python3
"""XGBoost's own reasons (pred_contribs) by a model of 100 trees of our default shape over the benchmark's customers.

usage: reasons_peer.py CONNECTION THREADS ROWS
Prints the rows a second, the nodes of the model, and the largest gap between a row's sum and its margin.
"""
import sys
import time

import numpy as np
import pandas as pd
import psycopg2
import xgboost as xgb

connection, threads, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
frame = pd.read_sql("SELECT * FROM bench.profiles ORDER BY id LIMIT 200000", psycopg2.connect(connection))
label = frame.pop("churned").to_numpy("float32")
frame.pop("id")
for name in frame.columns:
    if frame[name].dtype == object:
        frame[name] = frame[name].astype("category").cat.codes.replace(-1, np.nan)
matrix = frame.to_numpy("float32")
booster = xgb.train({"tree_method": "hist", "grow_policy": "lossguide", "max_depth": 8, "max_leaves": 31,
                     "eta": 0.1, "objective": "binary:logistic", "nthread": threads}, xgb.DMatrix(matrix, label), 100)
some = xgb.DMatrix(matrix[:rows])
started = time.perf_counter()
contributions = booster.predict(some, pred_contribs=True)
seconds = time.perf_counter() - started
gap = np.abs(contributions.sum(axis=1) - booster.predict(some, output_margin=True)).max()
nodes = len(booster.trees_to_dataframe())
print(f"{rows / seconds:.0f} {nodes} {gap:.1e}")
