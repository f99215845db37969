/*
 * The JavaScript face. Everything a program needs is converted to plain structures before it is queued, and converted
 * back after it came home: the namespace thread never sees a JavaScript value. There are no globals, so each
 * environment (main thread, worker threads) has namespace threads of its own: one a lane.
 */
#include <napi.h>

#include <array>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "firewall.h"
#include "monitor.h"
#include "program.h"
#include "sys.h"
#include "worker.h"

namespace vpcctl {
namespace {

constexpr size_t kLanes = 4;

struct Job final : Program {
  explicit Job(Napi::Env env) : deferred(Napi::Promise::Deferred::New(env)) {}
  Napi::Promise::Deferred deferred;
};

/* Reads fields of JavaScript objects; after the first failure an exception is pending and every call returns false. */
class Reader {
 public:
  explicit Reader(Napi::Env env) : env_(env) {}

  bool fail(const std::string& message) const {
    if (!env_.IsExceptionPending()) Napi::TypeError::New(env_, message).ThrowAsJavaScriptException();
    return false;
  }

  bool field(const Napi::Object& object, const std::string& at, const char* key, Napi::Value* out) const {
    *out = object.Get(key);
    if (env_.IsExceptionPending() || out->IsEmpty()) return fail(at + "." + key + " cannot be read");
    return true;
  }

  bool object(const Napi::Value& value, const std::string& at, Napi::Object* out) const {
    if (!value.IsObject()) return fail(at + " must be an object");
    *out = value.As<Napi::Object>();
    return true;
  }

  /* NUL would end the text early on its way into the kernel. */
  bool text(const Napi::Value& value, const std::string& at, std::string* out) const {
    if (!value.IsString()) return fail(at + " must be a string");
    *out = value.As<Napi::String>().Utf8Value();
    if (out->find('\0') != std::string::npos) return fail(at + " must not contain a NUL");
    return true;
  }

  bool text(const Napi::Object& object, const std::string& at, const char* key, std::string* out) const {
    Napi::Value value;
    return field(object, at, key, &value) && text(value, at + "." + key, out);
  }

  /* Absent: false. */
  bool flag(const Napi::Value& value, const std::string& at, bool* out) const {
    if (!value.IsUndefined() && !value.IsBoolean()) return fail(at + " must be a boolean");
    *out = value.IsBoolean() && value.As<Napi::Boolean>().Value();
    return true;
  }

  bool flag(const Napi::Object& object, const std::string& at, const char* key, bool* out) const {
    Napi::Value value;
    return field(object, at, key, &value) && flag(value, at + "." + key, out);
  }

  bool natural(const Napi::Value& value, const std::string& at, size_t* out) const {
    if (!value.IsNumber()) return fail(at + " must be a number");
    const double number = value.As<Napi::Number>().DoubleValue();
    if (!(number >= 0 && number <= UINT32_MAX) || std::floor(number) != number) {
      return fail(at + " must be an integer of 32 bits, not negative");
    }
    *out = static_cast<size_t>(number);
    return true;
  }

  bool natural(const Napi::Object& object, const std::string& at, const char* key, size_t* out) const {
    Napi::Value value;
    return field(object, at, key, &value) && natural(value, at + "." + key, out);
  }

  /** A place in a file, as far as a number names every integer. */
  bool offset(const Napi::Value& value, const std::string& at, int64_t* out) const {
    if (!value.IsNumber()) return fail(at + " must be a number");
    const double number = value.As<Napi::Number>().DoubleValue();
    if (!(number >= 0 && number <= 9007199254740991.0) || std::floor(number) != number) {
      return fail(at + " must be a safe integer, not negative");
    }
    *out = static_cast<int64_t>(number);
    return true;
  }

  bool bytes(const Napi::Object& object, const std::string& at, const char* key, std::vector<uint8_t>* out) const {
    Napi::Value value;
    if (!field(object, at, key, &value)) return false;
    if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
      return fail(at + "." + key + " must be a Uint8Array");
    }
    const auto array = value.As<Napi::Uint8Array>();
    const size_t size = array.ByteLength();
    out->resize(size);
    if (size != 0) std::memcpy(out->data(), array.Data(), size);
    return true;
  }

  bool array(const Napi::Value& value, const std::string& at, Napi::Array* out) const {
    if (!value.IsArray()) return fail(at + " must be an array");
    *out = value.As<Napi::Array>();
    return true;
  }

  bool element(const Napi::Array& array, uint32_t i, const std::string& at, Napi::Object* out) const {
    const Napi::Value value = array.Get(i);
    if (env_.IsExceptionPending() || value.IsEmpty()) return fail(at + " cannot be read");
    return object(value, at, out);
  }

 private:
  Napi::Env env_;
};

bool readFixup(const Reader& read, const Napi::Object& from, const std::string& at, Fixup* fixup) {
  Napi::Value netns;
  Napi::Value link;
  if (!read.natural(from, at, "offset", &fixup->offset)) return false;
  if (!read.field(from, at, "netns", &netns) || !read.field(from, at, "link", &link)) return false;
  if (netns.IsUndefined() == link.IsUndefined()) return read.fail(at + " must have either netns or link");
  fixup->kind = link.IsUndefined() ? Fixup::Kind::kNetns : Fixup::Kind::kLink;
  return link.IsUndefined() ? read.text(netns, at + ".netns", &fixup->name)
                            : read.text(link, at + ".link", &fixup->name);
}

bool readFixups(const Reader& read, const Napi::Object& from, const std::string& at, std::vector<Fixup>* fixups) {
  Napi::Value value;
  Napi::Array array;
  if (!read.field(from, at, "fixups", &value) || !read.array(value, at + ".fixups", &array)) return false;
  const uint32_t count = array.Length();
  for (uint32_t i = 0; i < count; i += 1) {
    const std::string here = at + ".fixups[" + std::to_string(i) + "]";
    Napi::Object element;
    Fixup fixup{};
    if (!read.element(array, i, here, &element) || !readFixup(read, element, here, &fixup)) return false;
    fixups->push_back(std::move(fixup));
  }
  return true;
}

/* Absent: rtnetlink. */
bool readProtocol(const Reader& read, const Napi::Object& from, const std::string& at, msg::Protocol* protocol) {
  bool conntrack = false;
  if (!read.flag(from, at, "conntrack", &conntrack)) return false;
  *protocol = conntrack ? msg::Protocol::kConntrack : msg::Protocol::kRoute;
  return true;
}

bool readSpare(const Reader& read, const Napi::Object& from, const std::string& at, bool needed,
               std::optional<size_t>* spare) {
  Napi::Value value;
  if (!read.field(from, at, "spare", &value)) return false;
  if (value.IsUndefined() && !needed) return true;
  size_t number = 0;
  if (!read.natural(value, at + ".spare", &number)) return false;
  *spare = number;
  return true;
}

bool readOp(const Reader& read, const Napi::Object& from, const std::string& at, Op* op) {
  std::string kind;
  if (!read.text(from, at, "op", &kind)) return false;
  if (kind == "netns-create") {
    op->kind = Op::Kind::kNetnsCreate;
    return read.text(from, at, "path", &op->netns) && readSpare(read, from, at, false, &op->spare);
  }
  if (kind == "netns-delete") {
    op->kind = Op::Kind::kNetnsDelete;
    return read.text(from, at, "path", &op->netns);
  }
  if (kind == "spare-make") {
    op->kind = Op::Kind::kSpareMake;
    return readSpare(read, from, at, true, &op->spare) && read.text(from, at, "document", &op->value);
  }
  if (kind == "spare-drop") {
    op->kind = Op::Kind::kSpareDrop;
    return readSpare(read, from, at, true, &op->spare);
  }
  if (kind == "netns-living") {
    op->kind = Op::Kind::kNetnsLiving;
    return read.bytes(from, at, "data", &op->data) && read.flag(from, at, "release", &op->release);
  }
  if (kind == "netlink") {
    op->kind = Op::Kind::kNetlink;
    return readProtocol(read, from, at, &op->protocol) && read.text(from, at, "netns", &op->netns) && read.bytes(from, at, "data", &op->data) &&
           read.natural(from, at, "count", &op->count) && readFixups(read, from, at, &op->fixups);
  }
  if (kind == "dump") {
    op->kind = Op::Kind::kDump;
    return readProtocol(read, from, at, &op->protocol) && read.text(from, at, "netns", &op->netns) && read.bytes(from, at, "data", &op->data) &&
           read.flag(from, at, "partial", &op->partial);
  }
  if (kind == "sysctl-write") {
    op->kind = Op::Kind::kSysctlWrite;
    return read.text(from, at, "netns", &op->netns) && read.text(from, at, "key", &op->key) &&
           read.text(from, at, "value", &op->value) && read.flag(from, at, "optional", &op->optional);
  }
  if (kind == "nft") {
    op->kind = Op::Kind::kNft;
    return read.text(from, at, "netns", &op->netns) && read.text(from, at, "document", &op->value) &&
           read.flag(from, at, "check", &op->check);
  }
  if (kind == "socket-open") {
    op->kind = Op::Kind::kSocketOpen;
    size_t port = 0;
    if (!read.text(from, at, "netns", &op->netns) || !read.flag(from, at, "tcp", &op->service.tcp) ||
        !read.flag(from, at, "broadcast", &op->service.broadcast) ||
        !read.text(from, at, "address", &op->service.address) || !read.natural(from, at, "port", &port) ||
        !read.text(from, at, "link", &op->service.link)) {
      return false;
    }
    if (port > UINT16_MAX) return read.fail(at + ".port must be less than 65536");
    op->service.port = static_cast<uint16_t>(port);
    return true;
  }
  if (kind == "nft-rest") {
    op->kind = Op::Kind::kNftRest;
    return true;
  }
  if (kind == "sysctl-read") {
    op->kind = Op::Kind::kSysctlRead;
    return read.text(from, at, "netns", &op->netns) && read.text(from, at, "key", &op->key);
  }
  return read.fail(at + ".op is unknown: " + kind);
}

Napi::Value toUint8Array(Napi::Env env, const std::vector<uint8_t>& bytes) {
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, bytes.size());
  if (!bytes.empty()) std::memcpy(buffer.Data(), bytes.data(), bytes.size());
  return Napi::Uint8Array::New(env, bytes.size(), buffer, 0);
}

Napi::Object toObject(Napi::Env env, const msg::Ack& ack) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("errno", ack.error);
  if (!ack.text.empty()) out.Set("extack", ack.text);
  if (ack.offset) out.Set("offset", *ack.offset);
  return out;
}

Napi::Object toObject(Napi::Env env, const Result& result) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("errno", result.status.error);
  if (!result.status.where.empty()) out.Set("where", result.status.where);
  if (result.acks) {
    Napi::Array acks = Napi::Array::New(env, result.acks->size());
    for (uint32_t i = 0; i < result.acks->size(); i += 1) acks.Set(i, toObject(env, (*result.acks)[i]));
    out.Set("acks", acks);
  }
  if (result.data) out.Set("data", toUint8Array(env, *result.data));
  if (result.value) out.Set("value", *result.value);
  return out;
}

/* An error as Node's own system errors are: code, errno (negative) and syscall. */
Napi::Value throwStatus(Napi::Env env, const sys::Status& status) {
  const std::string code = sys::errnoName(status.error);
  Napi::Error error = Napi::Error::New(env, code + ": " + std::strerror(status.error) + ", " + status.where);
  error.Set("code", code);
  error.Set("errno", Napi::Number::New(env, -status.error));
  error.Set("syscall", status.where);
  error.ThrowAsJavaScriptException();
  return env.Undefined();
}

/** What one environment owns. Only its JavaScript thread touches it, but for the thread-safe function. */
class Addon {
 public:
  Addon()
      : lanes_{Worker(deliver, this, &spares_), Worker(deliver, this, &spares_), Worker(deliver, this, &spares_),
               Worker(deliver, this, &spares_)} {}
  Addon(const Addon&) = delete;
  Addon& operator=(const Addon&) = delete;
  ~Addon() = default;

  static Addon* of(Napi::Env env) { return env.GetInstanceData<Addon>(); }

  Napi::Value submit(Napi::Env env, std::vector<Op> ops, bool keepGoing, size_t lane) {
    if (!open(env)) return env.Undefined();
    auto job = std::make_unique<Job>(env);
    job->ops = std::move(ops);
    job->keepGoing = keepGoing;
    const Napi::Promise promise = job->deferred.Promise();
    /* The event loop stays alive exactly while programs are under way. */
    if (inFlight_++ == 0) napi_ref_threadsafe_function(env, finished_);
    lanes_[lane].submit(std::move(job));
    return promise;
  }

  /* To make a mount shared takes longer the more is mounted below it, so what was prepared once is not again. */
  sys::Status prepare(const std::string& dir, bool* changed) {
    if (const uint64_t mount = sys::mountAt(dir); mount != 0 && mount == prepared_) return {};
    sys::Status status = sys::prepareNetnsDir(dir, changed);
    if (status.ok()) prepared_ = sys::mountAt(dir);
    return status;
  }

 private:
  bool open(Napi::Env env) {
    if (finished_ != nullptr) return true;
    const napi_status status = napi_create_threadsafe_function(
        env, nullptr, nullptr, Napi::String::New(env, "vpcctl.run"), 0, 1, nullptr, nullptr, this, settle, &finished_);
    if (status != napi_ok) {
      Napi::Error::New(env, "the namespace thread's channel cannot be made").ThrowAsJavaScriptException();
      return false;
    }
    napi_unref_threadsafe_function(env, finished_);
    /* Hooks run last in, first out: added after the function's own hook, this one joins the threads before the function
     * goes. */
    napi_add_env_cleanup_hook(
        env,
        [](void* self) {
          for (Worker& lane : static_cast<Addon*>(self)->lanes_) lane.stop();
        },
        this);
    return true;
  }

  /* On a namespace thread. The queue is unbounded, so the call does not block; it fails only when the environment is
   * going. */
  static void deliver(void* self, std::unique_ptr<Program> program) {
    Program* raw = program.release();
    if (napi_call_threadsafe_function(static_cast<Addon*>(self)->finished_, raw, napi_tsfn_nonblocking) != napi_ok) {
      delete raw;
    }
  }

  /* On the JavaScript thread; without an environment (it is being torn down) there is nobody to tell. */
  static void settle(napi_env rawEnv, napi_value, void* self, void* raw) {
    const std::unique_ptr<Job> job(static_cast<Job*>(static_cast<Program*>(raw)));
    if (rawEnv == nullptr) return;
    const Napi::Env env(rawEnv);
    auto* addon = static_cast<Addon*>(self);
    for (Worker& lane : addon->lanes_) lane.revive();
    if (--addon->inFlight_ == 0) napi_unref_threadsafe_function(env, addon->finished_);
    Napi::Array results = Napi::Array::New(env, job->results.size());
    for (uint32_t i = 0; i < job->results.size(); i += 1) {
      const Napi::HandleScope scope(env);
      results.Set(i, toObject(env, job->results[i]));
    }
    job->deferred.Resolve(results);
  }

  napi_threadsafe_function finished_ = nullptr;
  size_t inFlight_ = 0;
  uint64_t prepared_ = 0;
  Spares spares_;
  std::array<Worker, kLanes> lanes_;
};

/* The JavaScript face of a Monitor: `new Monitor(tell)`, follow(path, nsid), close(). It keeps no event loop alive. */
class MonitorObject : public Napi::ObjectWrap<MonitorObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Monitor",
                       {InstanceMethod<&MonitorObject::follow>("follow"), InstanceMethod<&MonitorObject::close>("close")});
  }

  explicit MonitorObject(const Napi::CallbackInfo& info) : ObjectWrap(info), env_(info.Env()), monitor_(deliver, this) {
    const Napi::Env env = info.Env();
    if (!info[0].IsFunction()) {
      Reader(env).fail("tell must be a function");
      return;
    }
    const napi_status status =
        napi_create_threadsafe_function(env, info[0], nullptr, Napi::String::New(env, "vpcctl.monitor"), 0, 1, nullptr,
                                        nullptr, nullptr, tell, &told_);
    if (status != napi_ok) {
      Napi::Error::New(env, "the monitor's channel cannot be made").ThrowAsJavaScriptException();
      return;
    }
    napi_unref_threadsafe_function(env, told_);
    /* Hooks run last in, first out: as for the namespace threads, the thread ends before the function goes. */
    napi_add_env_cleanup_hook(env, end, this);
    const sys::Status opened = monitor_.open();
    if (opened.ok()) return;
    shut();
    throwStatus(env, opened);
  }
  MonitorObject(const MonitorObject&) = delete;
  MonitorObject& operator=(const MonitorObject&) = delete;
  ~MonitorObject() override { shut(); }

 private:
  Napi::Value follow(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const Reader read(env);
    std::string path;
    size_t nsid = 0;
    if (!read.text(info[0], "path", &path) || !read.natural(info[1], "nsid", &nsid)) return env.Undefined();
    if (nsid > INT32_MAX) return Napi::Boolean::New(env, read.fail("nsid is too large"));
    return Napi::Number::New(env, monitor_.follow(path, static_cast<int32_t>(nsid)).error);
  }

  Napi::Value close(const Napi::CallbackInfo& info) {
    shut();
    return info.Env().Undefined();
  }

  void shut() {
    if (told_ == nullptr) return;
    napi_remove_env_cleanup_hook(env_, end, this);
    monitor_.close();
    napi_release_threadsafe_function(std::exchange(told_, nullptr), napi_tsfn_abort);
  }

  /* The environment ends, and takes the function with it. */
  static void end(void* self) {
    static_cast<MonitorObject*>(self)->monitor_.close();
    static_cast<MonitorObject*>(self)->told_ = nullptr;
  }

  /* On the monitor's thread. */
  static void deliver(void* self, std::unique_ptr<News> news) {
    News* raw = news.release();
    if (napi_call_threadsafe_function(static_cast<MonitorObject*>(self)->told_, raw, napi_tsfn_nonblocking) != napi_ok) {
      delete raw;
    }
  }

  static void tell(napi_env rawEnv, napi_value function, void*, void* raw) {
    const std::unique_ptr<News> news(static_cast<News*>(raw));
    if (rawEnv == nullptr) return;
    const Napi::Env env(rawEnv);
    Napi::Array items = Napi::Array::New(env, news->items.size() * 2);
    uint32_t at = 0;
    for (const auto& [nsid, type] : news->items) {
      items.Set(at++, nsid);
      items.Set(at++, type);
    }
    Napi::Function(env, function).Call({items, Napi::Boolean::New(env, news->overrun)});
  }

  napi_env env_;
  napi_threadsafe_function told_ = nullptr;
  Monitor monitor_;
};

Napi::Value run(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Reader read(env);
  Napi::Array ops;
  if (!read.array(info[0], "ops", &ops)) return env.Undefined();
  bool keepGoing = false;
  size_t lane = 0;
  if (!read.flag(info[1], "keepGoing", &keepGoing)) return env.Undefined();
  if (!info[2].IsUndefined() && !read.natural(info[2], "lane", &lane)) return env.Undefined();
  if (lane >= kLanes) {
    read.fail("lane must be less than " + std::to_string(kLanes));
    return env.Undefined();
  }
  const uint32_t count = ops.Length();
  std::vector<Op> program;
  for (uint32_t i = 0; i < count; i += 1) {
    const Napi::HandleScope scope(env);
    const std::string at = "ops[" + std::to_string(i) + "]";
    Napi::Object element;
    Op op{};
    if (!read.element(ops, i, at, &element) || !readOp(read, element, at, &op)) return env.Undefined();
    program.push_back(std::move(op));
  }
  return Addon::of(env)->submit(env, std::move(program), keepGoing, lane);
}

Napi::Value flock(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Reader read(env);
  size_t fd = 0;
  std::string name;
  if (!read.natural(info[0], "fd", &fd) || !read.text(info[1], "mode", &name)) return env.Undefined();
  sys::LockMode mode{};
  if (name == "exclusive") {
    mode = sys::LockMode::kExclusive;
  } else if (name == "shared") {
    mode = sys::LockMode::kShared;
  } else if (name == "unlock") {
    mode = sys::LockMode::kUnlock;
  } else {
    read.fail("mode must be exclusive, shared or unlock");
    return env.Undefined();
  }
  bool taken = false;
  const sys::Status status = sys::lockFile(static_cast<int>(fd), mode, &taken);
  return status.ok() ? Napi::Boolean::New(env, taken) : throwStatus(env, status);
}

Napi::Value lockByte(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Reader read(env);
  size_t fd = 0;
  int64_t at = 0;
  std::string name;
  if (!read.natural(info[0], "fd", &fd) || !read.offset(info[1], "at", &at) || !read.text(info[2], "action", &name)) {
    return env.Undefined();
  }
  sys::ByteLock action{};
  if (name == "take") {
    action = sys::ByteLock::kTake;
  } else if (name == "release") {
    action = sys::ByteLock::kRelease;
  } else if (name == "free-before") {
    action = sys::ByteLock::kFreeBefore;
  } else {
    read.fail("action must be take, release or free-before");
    return env.Undefined();
  }
  bool done = false;
  const sys::Status status = sys::lockByte(static_cast<int>(fd), at, action, &done);
  return status.ok() ? Napi::Boolean::New(env, done) : throwStatus(env, status);
}

Napi::Value peerOf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  size_t fd = 0;
  if (!Reader(env).natural(info[0], "fd", &fd)) return env.Undefined();
  sys::Peer peer{};
  const sys::Status status = sys::peerOf(static_cast<int>(fd), &peer);
  if (!status.ok()) return throwStatus(env, status);
  Napi::Object result = Napi::Object::New(env);
  result.Set("pid", peer.pid);
  result.Set("uid", peer.uid);
  return result;
}

template <typename Change>
Napi::Value changeNetnsDir(const Napi::CallbackInfo& info, Change change) {
  const Napi::Env env = info.Env();
  std::string dir;
  if (!Reader(env).text(info[0], "dir", &dir)) return env.Undefined();
  bool changed = false;
  const sys::Status status = change(dir, &changed);
  return status.ok() ? Napi::Boolean::New(env, changed) : throwStatus(env, status);
}

Napi::Value netnsDirPrepare(const Napi::CallbackInfo& info) {
  return changeNetnsDir(info, [&info](const std::string& dir, bool* changed) {
    return Addon::of(info.Env())->prepare(dir, changed);
  });
}

Napi::Value netnsDirRelease(const Napi::CallbackInfo& info) { return changeNetnsDir(info, sys::releaseNetnsDir); }

Napi::Value errnoName(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  size_t error = 0;
  if (!Reader(env).natural(info[0], "errno", &error)) return env.Undefined();
  return Napi::String::New(env, sys::errnoName(static_cast<int>(error)));
}

Napi::Value hasNftables(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), Firewall::available());
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Addon());
  exports.Set("run", Napi::Function::New(env, run, "run"));
  exports.Set("flock", Napi::Function::New(env, flock, "flock"));
  exports.Set("lockByte", Napi::Function::New(env, lockByte, "lockByte"));
  exports.Set("peerOf", Napi::Function::New(env, peerOf, "peerOf"));
  exports.Set("netnsDirPrepare", Napi::Function::New(env, netnsDirPrepare, "netnsDirPrepare"));
  exports.Set("netnsDirRelease", Napi::Function::New(env, netnsDirRelease, "netnsDirRelease"));
  exports.Set("Monitor", MonitorObject::define(env));
  exports.Set("hasNftables", Napi::Function::New(env, hasNftables, "hasNftables"));
  exports.Set("errnoName", Napi::Function::New(env, errnoName, "errnoName"));
  return exports;
}

}  // namespace

NODE_API_MODULE(vpcctl, init)

}  // namespace vpcctl
