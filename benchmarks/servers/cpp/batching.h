// Batching as TensorFlow Serving does it: a queue of batches per signature, shared threads.
//
// A batch may run when it is full, when another stands behind it, or when its oldest task has waited
// for the timeout. The threads take turns over the queues. The thread of the RPC blocks until its
// task has run, and writes the answer itself.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "model.h"

struct BatchingOptions {
  int64_t max_batch_size = 1000;  // rows
  int64_t batch_timeout_micros = 0;
  size_t max_enqueued_batches = 10;
  int num_batch_threads = static_cast<int>(std::thread::hardware_concurrency());
};

// A request's part of what a batch returned.
struct Share {
  std::shared_ptr<const std::vector<Tensor>> outputs;
  int64_t first_row = 0;
  int64_t rows = 0;
};

class Batcher {
 public:
  explicit Batcher(const BatchingOptions& options);

  // Runs `inputs` together with what others want of the same signature.
  grpc::Status Run(const Model& model, const Signature& signature,
                   const std::vector<Tensor>& inputs, Share* share);

 private:
  using Clock = std::chrono::steady_clock;
  struct Task {
    const std::vector<Tensor>& inputs;
    Share share;
    std::promise<grpc::Status> done;
  };
  struct Batch {
    Clock::time_point oldest;
    int64_t rows = 0;
    std::vector<Task*> tasks;
  };
  struct Queue {
    const Model* model = nullptr;
    std::deque<Batch> batches;
  };

  grpc::Status Enqueue(const Model& model, const Signature& signature, Task* task);
  void RunBatches();
  std::map<const Signature*, Queue>::iterator NextReady(Clock::time_point now);
  Clock::time_point DueAt(const Queue& queue) const;
  void WaitUntilDue(std::unique_lock<std::mutex>& lock);
  static grpc::Status Process(const Model& model, const Signature& signature, Batch* batch);

  const BatchingOptions options_;
  std::mutex mutex_;  // of all that follows
  std::condition_variable enqueued_;
  std::map<const Signature*, Queue> queues_;
  const Signature* last_ = nullptr;  // the queue that had its turn
};
