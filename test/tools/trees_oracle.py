#!/usr/bin/python3
"""Data for test/tap/quality.pl, in the form that cross_validate reads, and what the peers make of it.

usage: trees_oracle.py sets DATA OUT     the public sets, with the folds of their reference table
       trees_oracle.py amounts OUT       generated sets, and OUT/theirs.tsv: task, file, figure, the
                                         better peer's value on the held-out rows, our options
       trees_oracle.py calibrated FILE  log-loss of predictions (lines of target and prediction) after Platt
                                         scaling, fitted on four fifths of them and judged on the other, in turn
       trees_oracle.py peers OUT        the same, and the plain one, of the two peers on the sets that are in OUT
"""
import sys

import numpy as np
import pandas as pd


def write(path, frame, target, folds, text=()):
    head, out = ["fold", "target"], [folds, target]
    for name in frame:
        column = frame[name]
        category = column.dtype == object or name in text
        head.append(name + (":c" if category else ":n"))
        out.append(column.astype(object).where(column.notna(), "").astype(str) if category else column)
    table = pd.concat([pd.Series(np.asarray(values)) for values in out], axis=1)
    table.columns = head
    table.to_csv(path, sep="\t", index=False)


def fold(rows):
    return np.arange(rows, dtype=np.uint64) * 2654435761 % 4294967296 // 65536 % 5


def sets(data, out):
    telco = pd.read_csv(f"{data}/telco_churn/Telco-Customer-Churn.csv")
    telco["TotalCharges"] = pd.to_numeric(telco.TotalCharges, errors="coerce")
    write(f"{out}/telco.tsv", telco.drop(columns=["customerID", "Churn"]), (telco.Churn == "Yes") * 1, fold(len(telco)))
    mlc = pd.read_csv(f"{data}/mlc_churn/mlc_churn.csv.gz")
    write(f"{out}/mlc.tsv", mlc.drop(columns="churn"), (mlc.churn == "yes") * 1, fold(len(mlc)), ["area_code"])
    for name, file in ("bank", "bank-full"), ("bank_additional", "bank-additional-full"):
        bank = pd.read_csv(f"{data}/bank_marketing/{file}.csv.gz", sep=";")
        target = (bank.y == "yes") * 1
        write(f"{out}/{name}.tsv", bank.drop(columns="y"), target, fold(len(bank)))
        write(f"{out}/{name}_without_duration.tsv", bank.drop(columns=["y", "duration"]), target, fold(len(bank)))
    adult = pd.read_csv(f"{data}/adult/adult.csv.gz")
    adult = adult[adult.income.notna()].reset_index(drop=True)
    write(f"{out}/adult.tsv", adult.drop(columns=["income", "fnlwgt"]), (adult.income == "large") * 1, fold(len(adult)))
    parts = [pd.read_csv(f"{data}/higgs_7k/{file}", sep="\t", header=None) for file in ("binary.train.gz", "binary.test")]
    higgs = pd.concat(parts, ignore_index=True)
    folds = np.r_[np.full(len(parts[0]), -1), np.zeros(len(parts[1]), int)]
    features = higgs.drop(columns=0).rename(columns=lambda name: f"x{name}")
    write(f"{out}/higgs.tsv", features, higgs[0].astype(int), folds)


def calibrated_loss(target, prediction):
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    bounded = np.clip(prediction, 1e-12, 1 - 1e-12)
    margin = np.log(bounded / (1 - bounded))[:, None]
    # Other folds than those that the predictions come from.
    part = np.arange(len(target), dtype=np.uint64) * 2246822519 % 4294967296 // 65536 % 5
    scaled = np.empty(len(target))
    for k in range(5):
        model = LogisticRegression(C=1e6, max_iter=1000).fit(margin[part != k], target[part != k])
        scaled[part == k] = model.predict_proba(margin[part == k])[:, 1]
    return log_loss(target, scaled)


def calibrated(file):
    target, prediction = np.loadtxt(file).T
    print(f"{calibrated_loss(target, prediction):.4f}")


def peers(out):
    import glob
    import xgboost
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import log_loss
    settings = {"tree_method": "hist", "max_depth": 6, "eta": 0.1, "objective": "binary:logistic", "nthread": 2}
    for path in sorted(glob.glob(f"{out}/*.tsv")):
        table = pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""], low_memory=False)
        target, folds = table.pop("target").to_numpy(), table.pop("fold").to_numpy()
        texts = [name for name in table if name.endswith(":c")]
        table[texts] = table[texts].fillna("").astype(str)
        matrix = pd.get_dummies(table, columns=texts).to_numpy("float32")
        figures = []
        for peer in "xgb", "hist":
            prediction = np.full(len(target), np.nan)
            for k in range(folds.max() + 1):
                before, after = folds != k, folds == k
                if peer == "xgb":
                    model = xgboost.train(settings, xgboost.DMatrix(matrix[before], target[before]), 100)
                    prediction[after] = model.predict(xgboost.DMatrix(matrix[after]))
                else:
                    model = HistGradientBoostingClassifier(max_iter=100, early_stopping=False)
                    prediction[after] = model.fit(matrix[before], target[before]).predict_proba(matrix[after])[:, 1]
            shown = folds >= 0
            figures += [peer, log_loss(target[shown], prediction[shown]), calibrated_loss(target[shown], prediction[shown])]
        print(path.split("/")[-1], *(f"{x:.4f}" if isinstance(x, float) else x for x in figures), flush=True)


def amounts(out):
    import xgboost
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.metrics import (log_loss, mean_absolute_error, mean_gamma_deviance, mean_pinball_loss,
                                 mean_poisson_deviance, mean_squared_error, mean_tweedie_deviance)
    rows = 20000
    random = np.random.default_rng(3)
    x = random.normal(size=(rows, 6))
    segment = random.integers(0, 8, rows)
    signal = 0.6 * x[:, 0] - 0.5 * (x[:, 1] > 0.5) + 0.4 * x[:, 2] * x[:, 3] + 0.3 * np.sin(segment)
    count = random.poisson(np.exp(signal - 0.5))
    spend = np.where(count > 0, count * np.exp(2 + 0.4 * x[:, 4] + 0.6 * random.normal(size=rows)), 0)
    amount = np.exp(2 + signal + 0.6 * random.normal(size=rows))
    liked = np.argmax(np.c_[signal, x[:, 4], 0.5 * x[:, 5] + 0.2, np.zeros(rows)] + random.gumbel(size=(rows, 4)), axis=1)
    frame = pd.DataFrame(x, columns=[f"x{i}" for i in range(6)])
    frame["segment"] = [f"s{i}" for i in segment]
    held_out = np.arange(rows) % 5 == 0
    for name, target in ("count", count), ("spend", spend), ("amount", amount), ("liked", liked):
        shown = [f"k{i}" for i in target] if name == "liked" else target
        write(f"{out}/{name}.tsv", frame, shown, np.where(held_out, 0, -1))
    matrix = pd.get_dummies(frame, columns=["segment"]).to_numpy("float32")
    before, after = matrix[~held_out], matrix[held_out]

    def xgb(target, objective, **more):
        settings = {"tree_method": "hist", "max_depth": 6, "eta": 0.1, "objective": objective, "nthread": 2, **more}
        model = xgboost.train(settings, xgboost.DMatrix(before, target[~held_out]), 100)
        return model.predict(xgboost.DMatrix(after))

    def hist(target, loss, **more):
        model = HistGradientBoostingRegressor(loss=loss, max_iter=100, early_stopping=False, **more)
        return model.fit(before, target[~held_out]).predict(after)

    def hist_classes(target):
        model = HistGradientBoostingClassifier(max_iter=100, early_stopping=False)
        return model.fit(before, target[~held_out]).predict_proba(after)

    def least(target, measure, *predictions):
        return min(measure(target[held_out], prediction) for prediction in predictions)

    with open(f"{out}/theirs.tsv", "w") as theirs:
        def line(task, file, figure, value, *options):
            theirs.write("\t".join([task, file, figure, f"{value:.6g}", *options]) + "\n")
        line("value", "amount", "deviance", least(amount, mean_squared_error, xgb(amount, "reg:squarederror"),
             hist(amount, "squared_error")), "objective=squared")
        line("value", "count", "deviance", least(count, mean_poisson_deviance, xgb(count, "count:poisson"),
             hist(count, "poisson")), "objective=poisson")
        line("value", "amount", "deviance", least(amount, mean_gamma_deviance, xgb(amount, "reg:gamma")), "objective=gamma")
        line("value", "spend", "deviance", least(spend, lambda y, p: mean_tweedie_deviance(y, p, power=1.5),
             xgb(spend, "reg:tweedie", tweedie_variance_power=1.5)), "objective=tweedie")
        line("value", "amount", "deviance", least(amount, mean_absolute_error, hist(amount, "absolute_error")),
             "objective=absolute")
        line("value", "amount", "deviance", least(amount, lambda y, p: 2 * mean_pinball_loss(y, p, alpha=0.9),
             hist(amount, "quantile", quantile=0.9)), "objective=quantile", "quantile=0.9")
        line("affinity", "liked", "log_loss", least(liked, log_loss, xgb(liked, "multi:softprob", num_class=4),
             hist_classes(liked)))


if __name__ == "__main__":
    {"sets": sets, "amounts": amounts, "calibrated": calibrated, "peers": peers}[sys.argv[1]](*sys.argv[2:])
