"""Settings of a run that takes a blink, for tests that need several."""

SMALL = {
    "hidden": (12,),
    "steps": 3,
    "dropout": 0.2,  # random numbers that another trial could disturb
    "epochs": 2,
    "batch_size": 40,
    "validation": 0.2,
    "tensorboard": False,
    "preflight": "off",
}
