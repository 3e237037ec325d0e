#include "predict.h"

#include <algorithm>
#include <filesystem>

using grpc::Status;
using grpc::StatusCode;
using tensorflow::TensorProto;
using tensorflow::serving::PredictRequest;
using tensorflow::serving::PredictResponse;

namespace {

constexpr char kDefaultSignature[] = "serving_default";

Status FindSignature(const Model& model, const PredictRequest& request, const Signature** found) {
  const std::string& name = request.model_spec().signature_name();
  auto signature = model.signatures().find(name.empty() ? kDefaultSignature : name);
  if (signature == model.signatures().end()) {
    return {StatusCode::INVALID_ARGUMENT, "Serving signature key \"" + name + "\" not found."};
  }
  *found = &signature->second;
  return Status::OK;
}

Status ReadInputs(const Signature& signature, const PredictRequest& request,
                  std::vector<Tensor>* inputs) {
  if (request.inputs_size() != static_cast<int>(signature.inputs.size())) {
    return {StatusCode::INVALID_ARGUMENT, "input size does not match signature"};
  }
  inputs->reserve(signature.inputs.size());
  for (size_t i = 0; i < signature.inputs.size(); i++) {
    const std::string& name = signature.inputs.names[i];
    auto given = request.inputs().find(name);
    if (given == request.inputs().end()) {
      return {StatusCode::INVALID_ARGUMENT, "input " + name + " is missing"};
    }
    if (static_cast<TF_DataType>(given->second.dtype()) != signature.inputs.types[i]) {
      return {StatusCode::INVALID_ARGUMENT, "input " + name + " has another type"};
    }
    inputs->emplace_back();
    if (Status status = ReadTensor(given->second, &inputs->back()); !status.ok()) return status;
  }
  return Status::OK;
}

void WriteSpec(const Model& model, const Signature& signature, PredictResponse* response) {
  response->mutable_model_spec()->set_name(model.name());
  response->mutable_model_spec()->mutable_version()->set_value(model.version());
  response->mutable_model_spec()->set_signature_name(signature.name);
}

bool IsWanted(const PredictRequest& request, const std::string& output) {
  const auto& filter = request.output_filter();
  return filter.empty() || std::find(filter.begin(), filter.end(), output) != filter.end();
}

template <typename WriteOutput>
void Write(const Model& model, const Signature& signature, const PredictRequest& request,
           PredictResponse* response, WriteOutput write_output) {
  WriteSpec(model, signature, response);
  for (size_t i = 0; i < signature.outputs.size(); i++) {
    const std::string& name = signature.outputs.names[i];
    if (IsWanted(request, name)) write_output(i, &(*response->mutable_outputs())[name]);
  }
}

Status RunAlone(const Model& model, const Signature& signature, const PredictRequest& request,
                const std::vector<Tensor>& inputs, int64_t timeout_ms, PredictResponse* response) {
  std::vector<const TF_Tensor*> fed;
  for (const Tensor& input : inputs) fed.push_back(input.get());
  std::vector<Tensor> outputs;
  Status status = model.Run(signature, fed, timeout_ms, &outputs);
  if (!status.ok()) return status;
  Write(model, signature, request, response, [&outputs](size_t i, TensorProto* proto) {
    WriteTensor(outputs[i].get(), proto);
  });
  return Status::OK;
}

}  // namespace

Status Predictor::Load(const std::string& folder, const BatchingOptions* batching) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    Model model;
    if (Status status = model.Load(entry.path() / "1"); !status.ok()) return status;
    std::string name = model.name();
    models_.emplace(std::move(name), std::move(model));
  }
  if (batching != nullptr) batcher_ = std::make_unique<Batcher>(*batching);
  return Status::OK;
}

Status Predictor::Predict(const PredictRequest& request, int64_t timeout_ms,
                          PredictResponse* response) {
  auto found = models_.find(request.model_spec().name());
  if (found == models_.end()) {
    return {StatusCode::NOT_FOUND,
            "Servable not found for request: Latest(" + request.model_spec().name() + ")"};
  }
  const Model& model = found->second;
  const Signature* signature = nullptr;
  if (Status status = FindSignature(model, request, &signature); !status.ok()) return status;
  std::vector<Tensor> inputs;
  if (Status status = ReadInputs(*signature, request, &inputs); !status.ok()) return status;
  if (batcher_ == nullptr) {
    return RunAlone(model, *signature, request, inputs, timeout_ms, response);
  }
  Share share;
  Status status = batcher_->Run(model, *signature, inputs, &share);
  if (!status.ok()) return status;
  Write(model, *signature, request, response, [&share](size_t i, TensorProto* proto) {
    WriteRows((*share.outputs)[i].get(), share.first_row, share.rows, proto);
  });
  return Status::OK;
}
