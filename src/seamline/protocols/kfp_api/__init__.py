"""The Kubeflow Pipelines API, `/apis/v2beta1`: what `kfp.Client` speaks. One file per resource.

A namespace is an environment; without one, it is dataops.
"""
