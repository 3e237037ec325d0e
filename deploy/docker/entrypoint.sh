#!/bin/sh
# As in tensorflow/serving: ports 8500 and 8501, $MODEL_NAME below $MODEL_BASE_PATH, and what is given to
# `docker run` after the image goes to the server; a flag that comes again counts. The server takes the
# place of this shell, so that signals reach it and it drains.
set -eu
exec tensorflow_model_server \
  --port=8500 \
  --rest_api_port=8501 \
  --model_name="$MODEL_NAME" \
  --model_base_path="$MODEL_BASE_PATH/$MODEL_NAME" \
  "$@"
