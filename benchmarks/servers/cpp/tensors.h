// Tensors between the wire (TensorProto) and TensorFlow (TF_Tensor).
#pragma once

#include <grpcpp/support/status.h>

#include <memory>
#include <vector>

#include "tensorflow/core/framework/tensor.pb.h"
#include "tensorflow_api.h"

// TensorFlow frees the strings of tensors that it made; those of ours are ours to free.
struct DeleteTensor {
  bool frees_strings = false;
  void operator()(TF_Tensor* tensor) const;
};
using Tensor = std::unique_ptr<TF_Tensor, DeleteTensor>;

// Reads a tensor from typed values or `tensor_content`, with TensorFlow's rules: too few values are
// filled up with the last one. Types: float, double, int32, int64, bool, string; others as content.
grpc::Status ReadTensor(const tensorflow::TensorProto& proto, Tensor* tensor);

// Writes `rows` rows from `first_row` on, as typed values where there is a field for them.
void WriteRows(const TF_Tensor* tensor, int64_t first_row, int64_t rows,
               tensorflow::TensorProto* proto);

// Writes a whole tensor, of any rank.
void WriteTensor(const TF_Tensor* tensor, tensorflow::TensorProto* proto);

// Joins tensors along their first dimension. They must agree in type and in all others.
grpc::Status Concatenate(const std::vector<const TF_Tensor*>& parts, Tensor* whole);

int64_t Rows(const TF_Tensor* tensor);
