"""Components for pipelines that are written with the KFP SDK.

For whoever writes and compiles a pipeline; what runs is the component's source alone, in its task.
"""

from seamline.components.batch import batch_predict, batch_predict_with

__all__ = ["batch_predict", "batch_predict_with"]
