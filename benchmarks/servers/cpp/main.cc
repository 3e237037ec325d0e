// A stand-in for TensorFlow Serving: what a C++ server pays per Predict request.
//
// As TensorFlow Serving runs by default: a synchronous gRPC service, TensorFlow's own thread pools,
// variables that stay variables, the default parameters of batching. It has Predict and nothing
// else: no versions, no REST, no limits. Usage: server --port=N --models=FOLDER --tensorflow=FOLDER
// [--enable_batching] [--max_batch_size=N] [--batch_timeout_micros=N] [--num_batch_threads=N]
// [--grpc_max_threads=N]; every FOLDER/NAME/1 is served, on 127.0.0.1.
#include <grpcpp/grpcpp.h>
#include <grpcpp/resource_quota.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "predict.h"
#include "tensorflow_serving/apis/prediction_service.grpc.pb.h"

namespace {

class Service final : public tensorflow::serving::PredictionService::Service {
 public:
  explicit Service(Predictor* predictor) : predictor_(predictor) {}

  grpc::Status Predict(grpc::ServerContext* context,
                       const tensorflow::serving::PredictRequest* request,
                       tensorflow::serving::PredictResponse* response) override {
    return predictor_->Predict(*request, TimeoutMs(*context), response);
  }

 private:
  // What is left of the caller's deadline; 0 without one. The session run ends with it.
  static int64_t TimeoutMs(const grpc::ServerContext& context) {
    auto deadline = context.deadline();
    if (deadline == std::chrono::system_clock::time_point::max()) return 0;
    auto left = deadline - std::chrono::system_clock::now();
    return std::max<int64_t>(
        1, std::chrono::duration_cast<std::chrono::milliseconds>(left).count());
  }

  Predictor* const predictor_;
};

using Flags = std::map<std::string, std::string>;

Flags Parse(int count, char** words) {
  Flags flags;
  for (int i = 1; i < count; i++) {
    std::string word = words[i];
    size_t equals = word.find('=');
    bool has_value = equals != std::string::npos;
    flags[word.substr(0, equals)] = has_value ? word.substr(equals + 1) : "true";
  }
  return flags;
}

int64_t Number(const Flags& flags, const std::string& name, int64_t otherwise) {
  auto found = flags.find(name);
  return found == flags.end() ? otherwise : std::stoll(found->second);
}

int Serve(const Flags& flags, Service* service) {
  grpc::ServerBuilder builder;
  int bound = 0;
  builder.AddListeningPort("127.0.0.1:" + std::to_string(Number(flags, "--port", 0)),
                           grpc::InsecureServerCredentials(), &bound);
  builder.SetMaxReceiveMessageSize(-1);
  if (flags.count("--grpc_max_threads") != 0) {
    grpc::ResourceQuota quota;
    quota.SetMaxThreads(static_cast<int>(Number(flags, "--grpc_max_threads", 0)));
    builder.SetResourceQuota(quota);
  }
  builder.RegisterService(service);
  auto server = builder.BuildAndStart();
  if (server == nullptr || bound == 0) {
    std::fprintf(stderr, "ERROR the port cannot be had\n");
    return 1;
  }
  std::printf("serving on 127.0.0.1:%d\n", bound);
  std::fflush(stdout);
  server->Wait();
  return 0;
}

}  // namespace

int main(int count, char** words) {
  Flags flags = Parse(count, words);
  OpenTensorFlow(flags["--tensorflow"]);
  BatchingOptions batching;
  batching.max_batch_size = Number(flags, "--max_batch_size", batching.max_batch_size);
  batching.batch_timeout_micros =
      Number(flags, "--batch_timeout_micros", batching.batch_timeout_micros);
  batching.num_batch_threads =
      static_cast<int>(Number(flags, "--num_batch_threads", batching.num_batch_threads));
  Predictor predictor;
  bool batches = flags.count("--enable_batching") != 0;
  grpc::Status loaded = predictor.Load(flags["--models"], batches ? &batching : nullptr);
  if (!loaded.ok()) {
    std::fprintf(stderr, "ERROR %s\n", loaded.error_message().c_str());
    return 1;
  }
  Service service(&predictor);
  return Serve(flags, &service);
}
