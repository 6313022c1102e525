"""One file per family of formats: `open_payload(document, payload)` gives what predicts.

What it gives has `predict` and, for a classification, `predict_proba`. One that is no estimator of
scikit-learn also says what it `takes` ("numbers": a matrix; else the frame library's name), its
`task`, `parameters`, `feature_names_in_` (None: it knows no names) and `n_features_in_`.
"""
