"""Train the models that twins are made of: `train_models.py FOLDER`, where the flights lie.

Runs where the libraries are; it is no test module. Of each model FOLDER/NAME are the bytes,
FOLDER/NAME.samples its rows.
"""

import pickle
import sys
from pathlib import Path

import cloudpickle
import lightgbm
import polars as pl
import skops.io
import xgboost
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)

folder = Path(sys.argv[1])
july = pl.read_ndjson(folder / "july.jsonl")
august = pl.read_ndjson(folder / "august.jsonl")
named, measured = ["carrier", "origin", "dest"], ["weekday", "hour", "distance", "dep_delay"]
numbers = ["weekday", "hour", "distance"]
late, minutes = july["late"].to_numpy(), july["arr_delay"].to_numpy()
matrix = july.select(numbers).to_numpy().astype(float)


def keep(name, data, columns, rows=None):
    (folder / name).write_bytes(data)
    rows = august.sample(1500, seed=1) if rows is None else rows
    rows.select(columns).write_ndjson(folder / f"{name}.samples")


def encoder(**options):
    return make_column_transformer(
        (OneHotEncoder(**options), named),
        (make_pipeline(SimpleImputer(), StandardScaler()), measured),
    )


logistic = make_pipeline(encoder(handle_unknown="ignore"), LogisticRegression(max_iter=200))
logistic.fit(july.select(named + measured), late)
keep("logistic.skops", skops.io.dumps(logistic), named + measured)
keep("few.skops", skops.io.dumps(logistic), named + measured, august.head(999))

strict = make_pipeline(encoder(), LogisticRegression(max_iter=50))
known = july.select(named + measured)
strict.fit(known, late)
keep("strict.skops", skops.io.dumps(strict), named + measured, july.sample(1500, seed=1))

# The trap: categories by number, of which the converter makes thresholds. It says nothing.
native = make_pipeline(
    make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), named),
        remainder="passthrough",
    ),
    HistGradientBoostingClassifier(categorical_features=[0, 1, 2], random_state=0),
)
native.fit(july.select(named + numbers), late)
keep("native.pickle", pickle.dumps(native), named + numbers, august)

trees = make_pipeline(
    make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), named),
        remainder="passthrough",
    ),
    HistGradientBoostingRegressor(max_iter=20, random_state=0),
)
trees.fit(july.select(named + numbers), minutes)
keep("trees.skops", skops.io.dumps(trees), named + numbers)

line = LinearRegression().fit(matrix, minutes)
keep("line.skops", skops.io.dumps(line), numbers)
graph = convert_sklearn(line, initial_types=[("rows", FloatTensorType([None, 3]))])
keep("line.onnx", graph.SerializeToString(), numbers)

picked = make_pipeline(
    make_column_transformer((StandardScaler(), ["hour", "distance"])), LogisticRegression()
)
picked.fit(july.select(numbers), late)
keep("picked.skops", skops.io.dumps(picked), numbers)

boosted = xgboost.XGBClassifier(n_estimators=40, max_depth=3, early_stopping_rounds=2)
boosted.fit(matrix[:20000], late[:20000], eval_set=[(matrix[20000:], late[20000:])], verbose=False)
boosted.save_model(folder / "boosted.ubj")
keep("boosted.ubj", (folder / "boosted.ubj").read_bytes(), numbers)

leaves = lightgbm.LGBMRegressor(n_estimators=10, verbose=-1).fit(matrix, minutes)
keep("leaves.txt", leaves.booster_.model_to_string().encode(), numbers)

own = make_pipeline(FunctionTransformer(lambda table: table * 2), LogisticRegression())
own.fit(matrix, late)
keep("own.cloudpickle", cloudpickle.dumps(own), numbers)
