/* Names of errnos for the programs in C; the addon's are in sys.cc. */
#ifndef VPCCTL_ERRNO_NAME_H_
#define VPCCTL_ERRNO_NAME_H_

#include <errno.h>

static const char* errno_name(int error) {
  switch (error) {
#define X(name) \
  case name:    \
    return #name;
#define K(name, number) \
  case number:          \
    return #name;
#include "errno.def"
#undef X
#undef K
    default:
      return "unknown error";
  }
}

#endif  /* VPCCTL_ERRNO_NAME_H_ */
