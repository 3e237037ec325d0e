// TensorFlow's C API, taken from an installed wheel when the program starts.
//
// The wheel's libraries bring a protobuf, an Abseil and a gRPC of their own, in other versions than
// Debian's. They are therefore opened with local, deep binding, and this program links its own
// copies statically and hides them: neither side ever calls into the other's.
#pragma once

#include <string>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

#define TENSORFLOW_FUNCTIONS(X)                                                              \
  X(TF_AllocateTensor) X(TF_DataTypeSize) X(TF_DeleteBuffer) X(TF_DeleteSessionOptions)      \
  X(TF_DeleteStatus) X(TF_DeleteTensor) X(TF_Dim) X(TF_GetCode)                              \
  X(TF_GraphOperationByName) X(TF_LoadSessionFromSavedModel) X(TF_Message) X(TF_NewBuffer)   \
  X(TF_NewGraph) X(TF_NewSessionOptions) X(TF_NewStatus) X(TF_NumDims) X(TF_SessionRun)      \
  X(TF_StringCopy) X(TF_StringDealloc) X(TF_StringGetDataPointer) X(TF_StringGetSize)        \
  X(TF_StringInit) X(TF_TensorByteSize) X(TF_TensorData) X(TF_TensorElementCount)            \
  X(TF_TensorType)

// The functions above as members: `tf.TF_NewGraph()`.
struct TensorFlowApi {
#define DECLARE(name) decltype(&::name) name;
  TENSORFLOW_FUNCTIONS(DECLARE)
#undef DECLARE
};

extern TensorFlowApi tf;

// Opens the libraries in `folder`, that of the Python package. Ends the program if it cannot.
void OpenTensorFlow(const std::string& folder);
