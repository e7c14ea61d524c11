"""The peer of the section als: implicit ALS by three steps of conjugate gradients, all rows
at once, in NumPy and SciPy. Reads user,item pairs of whole numbers from a CSV; prints JSON
with the seconds that training took (reading apart) and the objective it arrived at."""
import json
import sys
import time

import numpy as np
import scipy.sparse as sparse

FACTORS, SWEEPS, STEPS, ALPHA = 64, 15, 3, np.float32(1)
CELLS = 1 << 18  # whose factors are gathered at a time


def weighted_sums(matrix, rows, fixed, directions):
    """For every row the sum over its cells of alpha (y.p) y."""
    products = np.empty(matrix.nnz, np.float32)
    for start in range(0, matrix.nnz, CELLS):
        part = slice(start, min(start + CELLS, matrix.nnz))
        products[part] = np.einsum("ij,ij->i", fixed[matrix.indices[part]], directions[rows[part]])
    return sparse.csr_matrix((products * ALPHA, matrix.indices, matrix.indptr), matrix.shape) @ fixed


def sweep(matrix, rows, solved, fixed, regularization):
    gram = fixed.T @ fixed + np.float32(regularization) * np.eye(FACTORS, dtype=np.float32)

    def apply(directions):
        return directions @ gram + weighted_sums(matrix, rows, fixed, directions)

    confident = sparse.csr_matrix((np.full(matrix.nnz, 1 + ALPHA, np.float32), matrix.indices, matrix.indptr), matrix.shape)
    residual = confident @ fixed - apply(solved)
    direction = residual.copy()
    before = (residual * residual).sum(1)
    for _ in range(STEPS):
        applied = apply(direction)
        length = before / np.maximum((direction * applied).sum(1), 1e-20)
        solved += length[:, None] * direction
        residual -= length[:, None] * applied
        after = (residual * residual).sum(1)
        direction = residual + (after / np.maximum(before, 1e-20))[:, None] * direction
        before = after
    return solved


def objective(matrix, rows, users, items, regularization):
    total = float((users.T.astype(float) @ users * (items.T.astype(float) @ items)).sum())
    for start in range(0, matrix.nnz, CELLS):
        part = slice(start, min(start + CELLS, matrix.nnz))
        scores = np.einsum("ij,ij->i", users[rows[part]], items[matrix.indices[part]]).astype(float)
        total += float(((1 + float(ALPHA)) * (1 - scores) ** 2 - scores**2).sum())
    return total + regularization * float((users.astype(float) ** 2).sum() + (items.astype(float) ** 2).sum())


def main():
    path, regularization = sys.argv[1], float(sys.argv[2])
    pairs = np.loadtxt(path, dtype=np.int64, delimiter=",")
    matrix = sparse.csr_matrix((np.ones(len(pairs), np.float32), (pairs[:, 0], pairs[:, 1])))
    matrix.data[:] = 1  # a pair counts once
    flipped = matrix.T.tocsr()
    random = np.random.RandomState(0)
    users = np.zeros((matrix.shape[0], FACTORS), np.float32)
    items = (random.standard_normal((matrix.shape[1], FACTORS)) * 0.01).astype(np.float32)
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    flipped_rows = np.repeat(np.arange(flipped.shape[0]), np.diff(flipped.indptr))
    start = time.perf_counter()
    for _ in range(SWEEPS):
        users = sweep(matrix, rows, users, items, regularization)
        items = sweep(flipped, flipped_rows, items, users, regularization)
    seconds = time.perf_counter() - start
    print(json.dumps({"pairs": int(matrix.nnz), "train": round(seconds, 3),
                      "objective": objective(matrix, rows, users, items, regularization)}))


main()
