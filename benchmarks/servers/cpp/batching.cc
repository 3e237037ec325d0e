#include "batching.h"

using grpc::Status;
using grpc::StatusCode;

namespace {

// Sets `rows` to the common first dimension.
Status CountRows(const std::vector<Tensor>& inputs, int64_t* rows) {
  *rows = -1;
  for (const Tensor& input : inputs) {
    if (tf.TF_NumDims(input.get()) < 1) {
      return {StatusCode::INVALID_ARGUMENT,
              "Batching Run() input tensors must have at least one dimension"};
    }
    if (*rows >= 0 && Rows(input.get()) != *rows) {
      return {StatusCode::INVALID_ARGUMENT,
              "Batching Run() input tensors must have equal 0th-dimension size"};
    }
    *rows = Rows(input.get());
  }
  return Status::OK;
}

}  // namespace

Batcher::Batcher(const BatchingOptions& options) : options_(options) {
  for (int i = 0; i < options_.num_batch_threads; i++) {
    std::thread([this] { RunBatches(); }).detach();  // until the process ends
  }
}

Status Batcher::Run(const Model& model, const Signature& signature,
                    const std::vector<Tensor>& inputs, Share* share) {
  Task task{inputs, {}, {}};
  if (Status status = CountRows(inputs, &task.share.rows); !status.ok()) return status;
  auto done = task.done.get_future();
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (Status status = Enqueue(model, signature, &task); !status.ok()) return status;
  }
  enqueued_.notify_one();
  Status status = done.get();
  *share = std::move(task.share);
  return status;
}

Status Batcher::Enqueue(const Model& model, const Signature& signature, Task* task) {
  int64_t rows = task->share.rows;
  if (rows > options_.max_batch_size) {
    return {StatusCode::INVALID_ARGUMENT, "Task is larger than maximum input batch size"};
  }
  Queue& queue = queues_[&signature];
  queue.model = &model;
  if (queue.batches.empty() || queue.batches.back().rows + rows > options_.max_batch_size) {
    if (queue.batches.size() >= options_.max_enqueued_batches) {
      return {StatusCode::UNAVAILABLE, "The batch scheduling queue is full"};
    }
    queue.batches.push_back({Clock::now(), 0, {}});
  }
  Batch& batch = queue.batches.back();
  task->share.first_row = batch.rows;
  batch.rows += rows;
  batch.tasks.push_back(task);
  return Status::OK;
}

void Batcher::RunBatches() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    auto ready = NextReady(Clock::now());
    if (ready == queues_.end()) {
      WaitUntilDue(lock);
      continue;
    }
    auto& [signature, queue] = *ready;  // nodes of a map stay where they are
    last_ = signature;
    Batch batch = std::move(queue.batches.front());
    queue.batches.pop_front();
    lock.unlock();
    Status status = Process(*queue.model, *signature, &batch);
    for (Task* task : batch.tasks) task->done.set_value(status);
    lock.lock();
  }
}

// Returns the first queue after the last one served, in a circle, whose batch may run.
std::map<const Signature*, Batcher::Queue>::iterator Batcher::NextReady(Clock::time_point now) {
  auto at = queues_.upper_bound(last_);
  for (size_t seen = 0; seen < queues_.size(); seen++, at++) {
    if (at == queues_.end()) at = queues_.begin();
    if (!at->second.batches.empty() && DueAt(at->second) <= now) return at;
  }
  return queues_.end();
}

Batcher::Clock::time_point Batcher::DueAt(const Queue& queue) const {
  const Batch& front = queue.batches.front();
  if (queue.batches.size() > 1 || front.rows >= options_.max_batch_size) return front.oldest;
  return front.oldest + std::chrono::microseconds(options_.batch_timeout_micros);
}

void Batcher::WaitUntilDue(std::unique_lock<std::mutex>& lock) {
  auto due_at = Clock::time_point::max();
  for (const auto& [signature, queue] : queues_) {
    if (!queue.batches.empty()) due_at = std::min(due_at, DueAt(queue));
  }
  if (due_at == Clock::time_point::max()) {
    enqueued_.wait(lock);
  } else {
    enqueued_.wait_until(lock, due_at);
  }
}

Status Batcher::Process(const Model& model, const Signature& signature, Batch* batch) {
  const auto& tasks = batch->tasks;
  std::vector<Tensor> joined;
  std::vector<const TF_Tensor*> inputs;
  for (size_t i = 0; i < signature.inputs.size(); i++) {
    if (tasks.size() == 1) {
      inputs.push_back(tasks[0]->inputs[i].get());
      continue;
    }
    std::vector<const TF_Tensor*> parts;
    for (const Task* task : tasks) parts.push_back(task->inputs[i].get());
    joined.emplace_back();
    if (Status status = Concatenate(parts, &joined.back()); !status.ok()) return status;
    inputs.push_back(joined.back().get());
  }
  auto outputs = std::make_shared<std::vector<Tensor>>();
  if (Status status = model.Run(signature, inputs, 0, outputs.get()); !status.ok()) return status;
  for (const Tensor& output : *outputs) {
    if (tf.TF_NumDims(output.get()) < 1 || Rows(output.get()) != batch->rows) {
      return {StatusCode::FAILED_PRECONDITION,
              "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension "
              "sizes of the input tensors"};
    }
  }
  for (Task* task : tasks) task->share.outputs = outputs;
  return Status::OK;
}
