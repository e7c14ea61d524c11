#!/usr/bin/python3
"""Logistic regression as people fit it today: rows out of PostgreSQL into pandas, scikit-learn's lbfgs.

usage: peer_linear.py CONNECTION
Prints one JSON object: seconds for each step, AUC on the held-out fifth, peak memory in MB.
"""
import io
import json
import resource
import sys
import time

seconds = {}
started = time.perf_counter()


def step(name):
    global started
    now = time.perf_counter()
    seconds[name] = round(now - started, 3)
    started = now


import pandas as pd
import psycopg2
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
step("import")

db = psycopg2.connect(sys.argv[1])
cursor = db.cursor()
cursor.execute("SELECT column_name, data_type FROM information_schema.columns "
               "WHERE table_schema = 'bench' AND table_name = 'profiles' ORDER BY ordinal_position")
types = dict(cursor.fetchall())
text = [name for name, kind in types.items() if kind == "text"]
numbers = [name for name in types if name not in text and name not in ("id", "churned")]
buffer = io.BytesIO()
cursor.copy_expert("COPY bench.profiles TO STDOUT (FORMAT csv, HEADER)", buffer)
buffer.seek(0)
frame = pd.read_csv(buffer, dtype={name: "float64" for name in numbers}, true_values=["t"], false_values=["f"])
step("extract")

label = frame["churned"].to_numpy("int8")
held_out = frame["id"].to_numpy() * 2654435761 % 4294967296 // 65536 % 5 == 0
frame[text] = frame[text].fillna("missing")
columns = ColumnTransformer([("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
                             ("text", OneHotEncoder(handle_unknown="ignore"), text)])
columns.fit(frame[~held_out])
matrix = columns.transform(frame)
step("prepare")

model = LogisticRegression(max_iter=200).fit(matrix[~held_out], label[~held_out])
step("train")
scores = model.predict_proba(matrix[held_out])[:, 1]
step("evaluate")
print(json.dumps({"seconds": seconds, "total": round(sum(seconds.values()), 2),
                  "auc": round(float(roc_auc_score(label[held_out], scores)), 4),
                  "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))
