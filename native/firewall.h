/*
 * nftables through libnftables (libnftables(3)), the library that `nft` is a shell around: a document costs no process.
 * It is loaded when the machine has it and not linked, so that the addon loads where it is missing.
 *
 * A context's netlink socket stays in the namespace of the thread that made it, and keeps that namespace alive. Contexts
 * are kept for the next document, because the kernel makes whoever closes the socket after a deletion wait for an RCU
 * grace period (about 16 ms); rest() closes them.
 */
#ifndef VPCCTL_FIREWALL_H_
#define VPCCTL_FIREWALL_H_

#include <sys/types.h>

#include <list>
#include <string>

#include "sys.h"

struct nft_ctx;

namespace vpcctl {

class Firewall {
 public:
  Firewall() = default;
  Firewall(const Firewall&) = delete;
  Firewall& operator=(const Firewall&) = delete;
  ~Firewall() { rest(); }

  /** Whether libnftables is on this machine. */
  static bool available();

  /**
   * Runs one document in the namespace of the calling thread, which `netns` is a descriptor of; with `check` nothing of
   * it stays. True: nftables took it, and `*text` is what it printed; false: `*text` has its words. Not ok when it could
   * not be asked.
   */
  sys::Status run(int netns, const std::string& document, bool check, bool* taken, std::string* text);

  /** Closes everything that is kept. */
  void rest();
  bool resting() const { return kept_.empty(); }

 private:
  struct Kept {
    dev_t device;
    ino_t inode;
    nft_ctx* context;
  };

  sys::Status find(int netns, nft_ctx** context);
  void close(const Kept& kept);

  /* The last used first. */
  std::list<Kept> kept_;
};

}  // namespace vpcctl

#endif  // VPCCTL_FIREWALL_H_
