"""Train a small model of each format: `train_models.py FOLDER` prints what each says of its rows.

Runs where the libraries are; it is no test module.
"""

import json
import pickle
import sys
from pathlib import Path

import cloudpickle
import joblib
import lightgbm
import numpy as np
import pandas as pd
import xgboost
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

folder = Path(sys.argv[1])
rng = np.random.default_rng(3)
n = 400
rows = pd.DataFrame(
    {
        "carrier": rng.choice(["AA", "B6", "UA"], n),
        "hour": rng.integers(0, 24, n).astype(float),
        "wind": rng.normal(10, 3, n),
    }
)
late = ((rows["hour"] > 14) ^ (rows["carrier"] == "AA")).astype(int).to_numpy()
minutes = (rows["hour"] * 3 + rows["wind"]).to_numpy()
numbers = rows[["hour", "wind"]]
expected: dict[str, list[float]] = {}


def keep(name, frame, said):
    samples = frame.head(50).to_dict("records")
    (folder / f"{name}.samples").write_text("".join(json.dumps(row) + "\n" for row in samples))
    expected[name] = np.asarray(said, np.float64)[:50].tolist()


early = xgboost.XGBClassifier(n_estimators=60, max_depth=3, early_stopping_rounds=3)
early.fit(numbers[:300], late[:300], eval_set=[(numbers[300:], late[300:])], verbose=False)
early.save_model(folder / "xgb_class.ubj")
keep("xgb_class.ubj", numbers, early.predict_proba(numbers)[:, 1])

boosted = xgboost.XGBRegressor(n_estimators=5).fit(numbers.to_numpy(), minutes)
boosted.save_model(folder / "xgb_number.json")
keep("xgb_number.json", numbers, boosted.predict(numbers.to_numpy()))

many = xgboost.XGBClassifier(n_estimators=2).fit(numbers, rows["carrier"].factorize()[0])
many.save_model(folder / "xgb_three.ubj")
keep("xgb_three.ubj", numbers, late)

categories = rows.astype({"carrier": "category"})
leaves = lightgbm.LGBMClassifier(n_estimators=8, verbose=-1).fit(categories, late)
leaves.booster_.save_model(folder / "lgb_class.txt")
keep("lgb_class.txt", rows, leaves.predict_proba(categories)[:, 1])

plain = lightgbm.LGBMRegressor(n_estimators=8, verbose=-1).fit(numbers.to_numpy(), minutes)
plain.booster_.save_model(folder / "lgb_number.txt")
keep("lgb_number.txt", numbers, plain.predict(numbers.to_numpy()))

encode = make_column_transformer(
    (OneHotEncoder(), ["carrier"]), (StandardScaler(), ["hour", "wind"])
)
named = make_pipeline(encode, LogisticRegression()).fit(rows, late)
text, number = StringTensorType([None, 1]), FloatTensorType([None, 1])
columns = [("carrier", text), ("hour", number), ("wind", number)]
graph = convert_sklearn(named, initial_types=columns)
(folder / "onnx_columns.onnx").write_bytes(graph.SerializeToString())
keep("onnx_columns.onnx", rows, named.predict_proba(rows)[:, 1])

matrix = LogisticRegression().fit(numbers.to_numpy(), late)
pair = [("rows", FloatTensorType([None, 2]))]
graph = convert_sklearn(matrix, initial_types=pair, options={"zipmap": False})
(folder / "onnx_matrix.onnx").write_bytes(graph.SerializeToString())
keep("onnx_matrix.onnx", numbers, matrix.predict_proba(numbers.to_numpy())[:, 1])

line = LinearRegression().fit(numbers.to_numpy(), minutes)
graph = convert_sklearn(line, initial_types=pair)
(folder / "onnx_number.onnx").write_bytes(graph.SerializeToString())
keep("onnx_number.onnx", numbers, line.predict(numbers.to_numpy()))

joblib.dump(named, folder / "named.joblib")
keep("named.joblib", rows, named.predict_proba(rows)[:, 1])
joblib.dump(named, folder / "packed.joblib", compress=3)
keep("packed.joblib", rows, named.predict_proba(rows)[:, 1])
(folder / "named.pickle").write_bytes(pickle.dumps(named))
keep("named.pickle", rows, named.predict_proba(rows)[:, 1])
(folder / "early.pickle").write_bytes(pickle.dumps(early))
keep("early.pickle", numbers, early.predict_proba(numbers)[:, 1])

own = make_pipeline(FunctionTransformer(lambda frame: frame * 2), LogisticRegression())
own.fit(numbers, late)
(folder / "own.cloudpickle").write_bytes(cloudpickle.dumps(own))
keep("own.cloudpickle", numbers, own.predict_proba(numbers)[:, 1])

print(json.dumps(expected))
