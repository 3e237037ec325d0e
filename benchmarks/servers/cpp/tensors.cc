#include "tensors.h"

#include <algorithm>
#include <cstring>
#include <string>

using grpc::Status;
using grpc::StatusCode;
using tensorflow::TensorProto;

namespace {

constexpr int kMaxRank = 254;  // TensorFlow's
constexpr int64_t kMaxElements = int64_t{1} << 31;

Status Invalid(const std::string& message) { return {StatusCode::INVALID_ARGUMENT, message}; }

TF_TString* Strings(const TF_Tensor* tensor) {
  return static_cast<TF_TString*>(tf.TF_TensorData(tensor));
}

void SetString(TF_TString* string, const char* data, size_t size) {
  tf.TF_StringInit(string);
  tf.TF_StringCopy(string, data, size);
}

Status Shape(const TensorProto& proto, std::vector<int64_t>* dims, int64_t* elements) {
  if (proto.tensor_shape().dim_size() > kMaxRank) return Invalid("too many dimensions");
  *elements = 1;
  for (const auto& dim : proto.tensor_shape().dim()) {
    if (dim.size() < 0) return Invalid("a dimension is negative");
    if (dim.size() > 0 && *elements > kMaxElements / dim.size()) return Invalid("too large");
    *elements *= dim.size();
    dims->push_back(dim.size());
  }
  return Status::OK;
}

// Copies values, the last one again and again if there are too few.
template <typename T, typename Field>
bool Fill(const Field& field, void* data, int64_t elements) {
  int64_t given = field.size();
  if (given > elements || (given == 0 && elements > 0)) return false;
  T* to = static_cast<T*>(data);
  std::copy(field.begin(), field.end(), to);
  if (given > 0) std::fill(to + given, to + elements, static_cast<T>(field.Get(given - 1)));
  return true;
}

bool FillTyped(const TensorProto& proto, TF_DataType type, void* data, int64_t elements) {
  switch (type) {
    case TF_FLOAT: return Fill<float>(proto.float_val(), data, elements);
    case TF_DOUBLE: return Fill<double>(proto.double_val(), data, elements);
    case TF_INT32: return Fill<int32_t>(proto.int_val(), data, elements);
    case TF_INT64: return Fill<int64_t>(proto.int64_val(), data, elements);
    case TF_BOOL: return Fill<bool>(proto.bool_val(), data, elements);
    default: return false;
  }
}

void ReadStrings(const TensorProto& proto, int64_t elements, TF_TString* strings) {
  const auto& values = proto.string_val();
  for (int64_t i = 0; i < elements; i++) {
    const std::string& value = values.Get(std::min<int64_t>(i, values.size() - 1));
    SetString(strings + i, value.data(), value.size());
  }
}

void CopyStrings(const TF_TString* from, int64_t elements, TF_TString* to) {
  for (int64_t i = 0; i < elements; i++) {
    SetString(to + i, tf.TF_StringGetDataPointer(from + i), tf.TF_StringGetSize(from + i));
  }
}

template <typename T, typename Field>
void Append(Field* field, const void* data, int64_t elements) {
  field->Resize(elements, T{});
  std::memcpy(field->mutable_data(), data, elements * sizeof(T));
}

void WriteStrings(const TF_TString* strings, int64_t elements, TensorProto* proto) {
  for (int64_t i = 0; i < elements; i++) {
    proto->add_string_val(tf.TF_StringGetDataPointer(strings + i),
                          tf.TF_StringGetSize(strings + i));
  }
}

void WriteElements(const TF_Tensor* tensor, int64_t first, int64_t elements, TensorProto* proto) {
  TF_DataType type = tf.TF_TensorType(tensor);
  if (type == TF_STRING) return WriteStrings(Strings(tensor) + first, elements, proto);
  size_t size = tf.TF_DataTypeSize(type);
  const char* data = static_cast<const char*>(tf.TF_TensorData(tensor)) + first * size;
  switch (type) {
    case TF_FLOAT: return Append<float>(proto->mutable_float_val(), data, elements);
    case TF_DOUBLE: return Append<double>(proto->mutable_double_val(), data, elements);
    case TF_INT32: return Append<int32_t>(proto->mutable_int_val(), data, elements);
    case TF_INT64: return Append<int64_t>(proto->mutable_int64_val(), data, elements);
    case TF_BOOL: return Append<bool>(proto->mutable_bool_val(), data, elements);
    default: proto->set_tensor_content(data, elements * size);
  }
}

int64_t ElementsOfRow(const TF_Tensor* tensor) {
  int64_t elements = 1;
  for (int i = 1; i < tf.TF_NumDims(tensor); i++) elements *= tf.TF_Dim(tensor, i);
  return elements;
}

bool SameButForRows(const TF_Tensor* one, const TF_Tensor* other) {
  if (tf.TF_TensorType(one) != tf.TF_TensorType(other)) return false;
  if (tf.TF_NumDims(one) != tf.TF_NumDims(other)) return false;
  for (int i = 1; i < tf.TF_NumDims(one); i++) {
    if (tf.TF_Dim(one, i) != tf.TF_Dim(other, i)) return false;
  }
  return true;
}

Tensor Allocate(TF_DataType type, const std::vector<int64_t>& dims, int64_t elements) {
  size_t size = type == TF_STRING ? sizeof(TF_TString) : tf.TF_DataTypeSize(type);
  return Tensor(tf.TF_AllocateTensor(type, dims.data(), dims.size(), elements * size),
                DeleteTensor{type == TF_STRING});
}

}  // namespace

void DeleteTensor::operator()(TF_Tensor* tensor) const {
  if (frees_strings) {
    for (int64_t i = 0; i < tf.TF_TensorElementCount(tensor); i++) {
      tf.TF_StringDealloc(Strings(tensor) + i);
    }
  }
  tf.TF_DeleteTensor(tensor);
}

int64_t Rows(const TF_Tensor* tensor) { return tf.TF_Dim(tensor, 0); }

Status ReadTensor(const TensorProto& proto, Tensor* tensor) {
  std::vector<int64_t> dims;
  int64_t elements = 0;
  if (Status status = Shape(proto, &dims, &elements); !status.ok()) return status;
  auto type = static_cast<TF_DataType>(proto.dtype());
  if (type == TF_STRING) {
    int64_t given = proto.string_val_size();
    if (given > elements || (given == 0 && elements > 0)) return Invalid("wrong number of strings");
    *tensor = Allocate(type, dims, elements);
    ReadStrings(proto, elements, Strings(tensor->get()));
    return Status::OK;
  }
  if (tf.TF_DataTypeSize(type) == 0) return Invalid("a type that is not supported");
  *tensor = Allocate(type, dims, elements);
  void* data = tf.TF_TensorData(tensor->get());
  size_t size = tf.TF_TensorByteSize(tensor->get());
  if (!proto.tensor_content().empty()) {
    if (proto.tensor_content().size() != size) return Invalid("tensor_content of the wrong size");
    std::memcpy(data, proto.tensor_content().data(), size);
    return Status::OK;
  }
  if (!FillTyped(proto, type, data, elements)) return Invalid("values do not match the shape");
  return Status::OK;
}

void WriteTensor(const TF_Tensor* tensor, TensorProto* proto) {
  proto->set_dtype(static_cast<tensorflow::DataType>(tf.TF_TensorType(tensor)));
  auto* shape = proto->mutable_tensor_shape();
  for (int i = 0; i < tf.TF_NumDims(tensor); i++) shape->add_dim()->set_size(tf.TF_Dim(tensor, i));
  WriteElements(tensor, 0, tf.TF_TensorElementCount(tensor), proto);
}

void WriteRows(const TF_Tensor* tensor, int64_t first_row, int64_t rows, TensorProto* proto) {
  proto->set_dtype(static_cast<tensorflow::DataType>(tf.TF_TensorType(tensor)));
  auto* shape = proto->mutable_tensor_shape();
  shape->add_dim()->set_size(rows);
  for (int i = 1; i < tf.TF_NumDims(tensor); i++) shape->add_dim()->set_size(tf.TF_Dim(tensor, i));
  int64_t row = ElementsOfRow(tensor);
  WriteElements(tensor, first_row * row, rows * row, proto);
}

Status Concatenate(const std::vector<const TF_Tensor*>& parts, Tensor* whole) {
  const TF_Tensor* first = parts.front();
  std::vector<int64_t> dims{0};
  for (int i = 1; i < tf.TF_NumDims(first); i++) dims.push_back(tf.TF_Dim(first, i));
  for (const TF_Tensor* part : parts) {
    if (!SameButForRows(first, part)) {
      return {StatusCode::FAILED_PRECONDITION, "tensors of different shapes in one batch"};
    }
    dims[0] += Rows(part);
  }
  TF_DataType type = tf.TF_TensorType(first);
  *whole = Allocate(type, dims, dims[0] * ElementsOfRow(first));
  char* to = static_cast<char*>(tf.TF_TensorData(whole->get()));
  for (const TF_Tensor* part : parts) {
    size_t size = tf.TF_TensorByteSize(part);
    if (type == TF_STRING) {
      CopyStrings(Strings(part), tf.TF_TensorElementCount(part), reinterpret_cast<TF_TString*>(to));
    } else {
      std::memcpy(to, tf.TF_TensorData(part), size);
    }
    to += size;
  }
  return Status::OK;
}
