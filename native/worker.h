/*
 * A namespace thread, started with its first program. Each JavaScript environment has a few, and no other thread
 * ever calls setns or unshare. Nothing here knows JavaScript; the binding hands programs in and gets them back on this
 * thread.
 */
#ifndef VPCCTL_WORKER_H_
#define VPCCTL_WORKER_H_

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "program.h"

namespace vpcctl {

struct Program {
  Program() = default;
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  virtual ~Program() = default;

  std::vector<Op> ops;
  bool keepGoing = false;
  std::vector<Result> results;
};

class Worker {
 public:
  /** Takes a finished program, on the namespace thread (or on the caller's when no thread can be started). */
  using Done = void (*)(void* context, std::unique_ptr<Program> program);

  Worker(Done done, void* context, Spares* spares) : done_(done), context_(context), spares_(*spares) {}
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() { stop(); }

  /** Queues a program; they run in the order of these calls. Programs that cannot run end with the errno of their
   * thread. */
  void submit(std::unique_ptr<Program> program);

  /**
   * Replaces a thread that was given up because it could not leave a namespace. To be called where submit() is called,
   * after a program came back: a new thread is born in the namespace of the thread that starts it, so a lost one cannot
   * do it itself.
   */
  void revive();

  /** Ends the thread: after the current operation when it is in a program. Programs not begun are dropped. */
  void stop();

 private:
  enum class State { kNone, kRunning, kLost };

  static void* entry(void* self);
  void loop();
  void start(std::unique_lock<std::mutex>& lock);

  Done done_;
  void* context_;
  Spares& spares_;
  pthread_t thread_{};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::unique_ptr<Program>> queue_;
  State state_ = State::kNone;
  std::atomic<bool> stop_{false};
};

}  // namespace vpcctl

#endif  // VPCCTL_WORKER_H_
