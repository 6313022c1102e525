"""How a pipeline's name is looked up."""


def normalised_package(name: str) -> str:
    """The KFP compiler publishes `ml_model_1_pipeline` as `ml-model-1-pipeline`.

    >>> normalised_package("ml_Model_1")
    'ml-model-1'
    """
    return name.lower().replace("_", "-")
