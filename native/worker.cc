#include "worker.h"

#include <chrono>
#include <utility>

namespace vpcctl {
namespace {

/* How long a thread keeps what the next program may use: a namespace that somebody else deletes lives on that long. */
constexpr std::chrono::milliseconds kIdle{200};

void fail(Program* program, const sys::Status& status) {
  program->results.clear();
  for (size_t i = 0; i < program->ops.size(); i += 1) {
    Result result;
    result.status = status;
    program->results.push_back(std::move(result));
    if (!program->keepGoing) break;
  }
}

}  // namespace

void Worker::submit(std::unique_ptr<Program> program) {
  std::unique_lock<std::mutex> lock(mutex_);
  queue_.push_back(std::move(program));
  if (state_ != State::kRunning) start(lock);
  wake_.notify_one();
}

void Worker::revive() {
  std::unique_lock<std::mutex> lock(mutex_);
  if (state_ == State::kLost && !queue_.empty()) start(lock);
}

void Worker::stop() {
  std::unique_lock<std::mutex> lock(mutex_);
  stop_.store(true, std::memory_order_relaxed);
  wake_.notify_one();
  const bool join = std::exchange(state_, State::kNone) != State::kNone;
  lock.unlock();
  if (join) ::pthread_join(thread_, nullptr);
  queue_.clear();
}

/* Called with the lock held and no thread running. */
void Worker::start(std::unique_lock<std::mutex>& lock) {
  if (state_ == State::kLost) {
    /* A lost thread takes the lock no more. */
    ::pthread_join(thread_, nullptr);
    state_ = State::kNone;
  }
  const int error = sys::startThread(&thread_, entry, this);
  if (error == 0) {
    state_ = State::kRunning;
    return;
  }
  std::deque<std::unique_ptr<Program>> refused;
  refused.swap(queue_);
  lock.unlock();
  for (auto& program : refused) {
    fail(program.get(), {error, "thread"});
    done_(context_, std::move(program));
  }
  lock.lock();
}

void* Worker::entry(void* self) {
  ::pthread_setname_np(::pthread_self(), "vpcctl-netns");
  static_cast<Worker*>(self)->loop();
  return nullptr;
}

void Worker::loop() {
  Executor executor(&spares_);
  const sys::Status born = executor.begin();
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    const auto called = [this] { return stop_.load(std::memory_order_relaxed) || !queue_.empty(); };
    if (executor.resting()) {
      wake_.wait(lock, called);
    } else if (!wake_.wait_for(lock, kIdle, called)) {
      lock.unlock();
      executor.rest();
      lock.lock();
      continue;
    }
    if (stop_.load(std::memory_order_relaxed)) return;
    std::unique_ptr<Program> program = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    if (born.ok()) {
      program->results = executor.run(program->ops, program->keepGoing, stop_);
    } else {
      fail(program.get(), born);
    }
    const bool lost = !born.ok() || executor.lost();
    if (lost) {
      lock.lock();
      if (state_ == State::kRunning) state_ = State::kLost;
      lock.unlock();
    }
    done_(context_, std::move(program));
    if (lost) return;
    lock.lock();
  }
}

}  // namespace vpcctl
