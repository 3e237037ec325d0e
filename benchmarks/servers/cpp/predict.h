// Predict: a request's tensors bound to a signature, run, and written as the response.
#pragma once

#include <grpcpp/support/status.h>

#include <map>
#include <memory>
#include <string>

#include "batching.h"
#include "model.h"
#include "tensorflow_serving/apis/predict.pb.h"

class Predictor {
 public:
  // Loads every FOLDER/NAME/1. With `batching`, requests are batched.
  grpc::Status Load(const std::string& folder, const BatchingOptions* batching);

  // Answers one request; blocks. A `timeout_ms` of 0 is none.
  grpc::Status Predict(const tensorflow::serving::PredictRequest& request, int64_t timeout_ms,
                       tensorflow::serving::PredictResponse* response);

 private:
  std::map<std::string, Model> models_;
  std::unique_ptr<Batcher> batcher_;
};
