#!/usr/bin/python3
"""XGBoost hist on the rows that kernel.c wrote, the same held out. usage: kernel.py MATRIX THREADS REPEATS"""
import json
import resource
import sys
import time

import numpy as np
import xgboost as xgb
from sklearn.metrics import log_loss, roc_auc_score

path, threads, repeats = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rows, columns = np.fromfile(path, "uint64", 2)
raw = np.memmap(path, "uint8", "r", 16, (int(rows), int(columns) * 4 + 2))
matrix = np.ascontiguousarray(raw[:, :-2]).view("float32")
label, held_out = raw[:, -2].astype("float32"), raw[:, -1] == 1
rest, rest_label = matrix[~held_out], label[~held_out]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(repeats):
    started, cpu = time.perf_counter(), time.process_time()
    train = xgb.QuantileDMatrix(rest, rest_label, nthread=threads, max_bin=256)
    binned = time.perf_counter()
    model = xgb.train({"tree_method": "hist", "max_depth": 6, "max_bin": 256, "eta": 0.1,
                       "objective": "binary:logistic", "nthread": threads}, train, 100)
    finished = time.perf_counter()
    cpu = time.process_time() - cpu
    scores = model.inplace_predict(matrix[held_out])
    print(json.dumps({"rows": int(rows), "threads": threads, "bin": round(binned - started, 3),
                      "fit": round(finished - binned, 3), "kernel": round(finished - started, 3), "cpu": round(cpu, 3),
                      "auc": round(float(roc_auc_score(label[held_out], scores)), 5),
                      "log_loss": round(float(log_loss(label[held_out], scores.astype("float64"))), 5),
                      "grew_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024}), flush=True)
