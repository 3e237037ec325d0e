// One loaded SavedModel: its signatures, and a session that runs them.
#pragma once

#include <grpcpp/support/status.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tensors.h"

// Inputs or outputs, as parallel vectors: names in requests, types, places in the graph.
struct Ports {
  std::vector<std::string> names;
  std::vector<TF_DataType> types;
  std::vector<TF_Output> places;

  size_t size() const { return names.size(); }
};

struct Signature {
  std::string name;
  Ports inputs, outputs;
};

class Model {
 public:
  // Loads `folder`, which ends in NAME/VERSION, as TensorFlow Serving does by default: TensorFlow's
  // own thread pools, variables that stay variables.
  grpc::Status Load(const std::string& folder);

  const std::string& name() const { return name_; }
  int64_t version() const { return version_; }
  const std::map<std::string, Signature>& signatures() const { return signatures_; }

  // Runs all outputs of a signature. A `timeout_ms` of 0 is none.
  grpc::Status Run(const Signature& signature, const std::vector<const TF_Tensor*>& inputs,
                   int64_t timeout_ms, std::vector<Tensor>* outputs) const;

 private:
  std::string name_;
  int64_t version_ = 0;
  std::map<std::string, Signature> signatures_;
  TF_Graph* graph_ = nullptr;
  TF_Session* session_ = nullptr;
};
