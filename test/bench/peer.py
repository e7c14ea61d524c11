#!/usr/bin/python3
"""The path people take today: rows out of PostgreSQL into pandas, XGBoost hist, scores back by COPY.

usage: peer.py CONNECTION THREADS
Prints one JSON object: seconds for each step, AUC on the held-out fifth, peak memory in MB.
"""
import io
import json
import resource
import sys
import time

connection, threads = sys.argv[1], int(sys.argv[2])
seconds = {}
started = time.perf_counter()


def step(name):
    global started
    now = time.perf_counter()
    seconds[name] = round(now - started, 3)
    started = now


import numpy as np
import pandas as pd
import psycopg2
import xgboost as xgb
from sklearn.metrics import roc_auc_score
step("import")

db = psycopg2.connect(connection)
cursor = db.cursor()
cursor.execute("SELECT column_name, data_type FROM information_schema.columns "
               "WHERE table_schema = 'bench' AND table_name = 'profiles' ORDER BY ordinal_position")
types = dict(cursor.fetchall())
text = [name for name, kind in types.items() if kind == "text"]
numbers = [name for name in types if name not in text and name not in ("id", "churned")]
buffer = io.BytesIO()
cursor.copy_expert("COPY bench.profiles TO STDOUT (FORMAT csv, HEADER)", buffer)
buffer.seek(0)
frame = pd.read_csv(buffer, dtype={**{name: "float32" for name in numbers}, **{name: "category" for name in text}},
                    true_values=["t"], false_values=["f"])
step("extract")

matrix = np.empty((len(frame), len(numbers) + len(text)), dtype="float32")
for position, name in enumerate(numbers):
    matrix[:, position] = frame[name]
for position, name in enumerate(text):
    codes = frame[name].cat.codes.to_numpy("float32")
    codes[codes < 0] = np.nan
    matrix[:, len(numbers) + position] = codes
label = frame["churned"].to_numpy("float32")
held_out = frame["id"].to_numpy() * 2654435761 % 4294967296 // 65536 % 5 == 0
step("prepare")

train = xgb.QuantileDMatrix(matrix[~held_out], label[~held_out], nthread=threads, max_bin=256)
step("bin")
model = xgb.train({"tree_method": "hist", "max_depth": 6, "max_bin": 256, "eta": 0.1,
                   "objective": "binary:logistic", "nthread": threads}, train, 100)
step("train")
scores = model.inplace_predict(matrix)
step("predict")

out = io.StringIO()
pd.DataFrame({"id": frame["id"], "score": scores}).to_csv(out, header=False, index=False)
out.seek(0)
cursor.execute("DROP TABLE IF EXISTS bench.peer_scores; CREATE TABLE bench.peer_scores (id bigint, score float8)")
cursor.copy_expert("COPY bench.peer_scores FROM STDIN (FORMAT csv)", out)
db.commit()
step("write back")
print(json.dumps({"seconds": seconds, "total": round(sum(seconds.values()), 2),
                  "kernel": round(seconds["bin"] + seconds["train"], 2),
                  "auc": round(float(roc_auc_score(label[held_out], scores[held_out])), 4),
                  "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))
