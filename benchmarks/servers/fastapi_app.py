"""A careful JSON server: FastAPI on uvicorn, with one process and the signature called directly.

Careful: models are loaded once, bodies are parsed with orjson and not validated element by
element, the signature runs in a thread, and replies don't pass through FastAPI's encoder.
Usage: python benchmarks/servers/fastapi_app.py PORT MODELS_FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import tensorflow as tf
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool


def make_app(folder: Path) -> FastAPI:
    """Return an app that serves every model below `folder`."""
    models = {path.name: tf.saved_model.load(str(path / "1")) for path in folder.iterdir()}
    app = FastAPI()

    @app.post("/v1/models/{name}:predict")
    async def predict(name: str, request: Request) -> Response:
        if name not in models:
            raise HTTPException(404, f"no model {name}")
        instances = orjson.loads(await request.body())["instances"]
        predictions = await run_in_threadpool(_run, models[name], instances)
        return Response(orjson.dumps({"predictions": predictions}), media_type="application/json")

    return app


def _run(model: Any, instances: list[Any]) -> list[Any]:
    signature = model.signatures["serving_default"]
    ((name, spec),) = signature.structured_input_signature[1].items()
    is_text = spec.dtype == tf.string
    array = np.array(instances, object if is_text else spec.dtype.as_numpy_dtype)
    (output,) = signature(**{name: tf.constant(array)}).values()
    predictions: list[Any] = output.numpy().tolist()
    return predictions


if __name__ == "__main__":
    uvicorn.run(
        make_app(Path(sys.argv[2])),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        access_log=False,
    )
