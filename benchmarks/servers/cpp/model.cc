#include "model.h"

#include <filesystem>

#include "tensorflow/core/protobuf/meta_graph.pb.h"

using grpc::Status;
using grpc::StatusCode;

namespace {

// TensorFlow's codes are gRPC's.
Status Take(TF_Status* status) {
  Status taken(static_cast<StatusCode>(tf.TF_GetCode(status)), tf.TF_Message(status));
  tf.TF_DeleteStatus(status);
  return taken;
}

// Returns a serialized tensorflow.RunOptions: its message would bring a dozen others to build.
std::string RunOptions(int64_t timeout_ms) {
  std::string options("\x10");  // timeout_in_ms, a varint
  for (; timeout_ms > 0x7F; timeout_ms >>= 7) {
    options.push_back(static_cast<char>(timeout_ms | 0x80));
  }
  options.push_back(static_cast<char>(timeout_ms));
  return options;
}

using TensorInfos = google::protobuf::Map<std::string, tensorflow::TensorInfo>;

// Returns whether the graph has them all.
bool FindPorts(TF_Graph* graph, const TensorInfos& infos, Ports* ports) {
  for (const auto& [name, info] : infos) {
    size_t colon = info.name().rfind(':');  // OPERATION:INDEX
    TF_Output place{tf.TF_GraphOperationByName(graph, info.name().substr(0, colon).c_str()), 0};
    if (place.oper == nullptr) return false;
    if (colon != std::string::npos) place.index = std::stoi(info.name().substr(colon + 1));
    ports->names.push_back(name);
    ports->types.push_back(static_cast<TF_DataType>(info.dtype()));
    ports->places.push_back(place);
  }
  return true;
}

}  // namespace

Status Model::Load(const std::string& folder) {
  std::filesystem::path path(folder);
  version_ = std::stoll(path.filename());
  name_ = path.parent_path().filename();
  graph_ = tf.TF_NewGraph();
  TF_SessionOptions* options = tf.TF_NewSessionOptions();
  TF_Buffer* serialized = tf.TF_NewBuffer();
  TF_Status* status = tf.TF_NewStatus();
  const char* tag = "serve";
  session_ = tf.TF_LoadSessionFromSavedModel(options, nullptr, folder.c_str(), &tag, 1, graph_,
                                             serialized, status);
  tf.TF_DeleteSessionOptions(options);
  tensorflow::MetaGraphDef meta_graph;
  bool is_read = meta_graph.ParseFromArray(serialized->data, static_cast<int>(serialized->length));
  tf.TF_DeleteBuffer(serialized);
  if (Status loaded = Take(status); !loaded.ok()) return loaded;
  if (!is_read) return {StatusCode::INTERNAL, "the MetaGraphDef cannot be read"};
  for (const auto& [name, definition] : meta_graph.signature_def()) {
    Signature signature{name, {}, {}};
    // `__saved_model_init_op` and its like have no inputs, and nobody asks for them.
    if (FindPorts(graph_, definition.inputs(), &signature.inputs) &&
        FindPorts(graph_, definition.outputs(), &signature.outputs) &&
        signature.inputs.size() > 0) {
      signatures_[name] = std::move(signature);
    }
  }
  return Status::OK;
}

Status Model::Run(const Signature& signature, const std::vector<const TF_Tensor*>& inputs,
                  int64_t timeout_ms, std::vector<Tensor>* outputs) const {
  std::string options = timeout_ms > 0 ? RunOptions(timeout_ms) : "";
  TF_Buffer buffer{options.data(), options.size(), nullptr};
  const auto& to = signature.outputs.places;
  std::vector<TF_Tensor*> fetched(to.size(), nullptr);
  TF_Status* status = tf.TF_NewStatus();
  tf.TF_SessionRun(session_, options.empty() ? nullptr : &buffer,
                   signature.inputs.places.data(), const_cast<TF_Tensor* const*>(inputs.data()),
                   static_cast<int>(inputs.size()),
                   to.data(), fetched.data(), static_cast<int>(to.size()), nullptr, 0, nullptr,
                   status);
  for (TF_Tensor* tensor : fetched) outputs->emplace_back(tensor);
  return Take(status);
}
