#!/usr/bin/python3
"""One phase of the driver pyroute2: `phase.py PLAN.json`. Prints its clock as one line of JSON.

Devices are born in place; each netlink socket is opened in the namespace that it is for. Rules are loaded by `nft`, a process a router, as
pyroute2 has no client for it.
"""
import ctypes
import json
import os
import subprocess
import sys
import time

from pyroute2 import IPRoute

CLONE_NEWNET = 0x40000000
MS_BIND = 4096
MNT_DETACH = 2
libc = ctypes.CDLL(None, use_errno=True)


def checked(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def path_of(name):
    return f"/run/netns/{name}"


class Inside:
    """This thread in a namespace, and back; a new one where there is none."""

    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def __init__(self, name, new=False):
        self.path = path_of(name)
        self.new = new

    def __enter__(self):
        if self.new:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDONLY, 0o444))
            checked(libc.unshare(CLONE_NEWNET), "unshare")
            checked(libc.mount(b"/proc/self/ns/net", self.path.encode(), b"none", MS_BIND, None), self.path)
        else:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            checked(libc.setns(fd, CLONE_NEWNET), self.path)
            os.close(fd)
        return IPRoute()

    def __exit__(self, *_):
        checked(libc.setns(self.home, CLONE_NEWNET), "setns")


def set_sysctl(key, value):
    path = f"/proc/sys/net/{key}"
    if os.path.exists(path):
        with open(path, "w") as file:
            file.write(value)


def make_router(router):
    with Inside(router["name"], new=True) as ip:
        ip.link("set", index=1, state="up")
        ip.link("add", ifname="br0", kind="bridge", address=router["mac"], br_mcast_snooping=0, br_vlan_default_pvid=0)
        bridge = ip.link_lookup(ifname="br0")[0]
        ip.link("set", index=bridge, state="up")
        ip.addr("add", index=bridge, address=router["gateway"], prefixlen=router["prefix"])
        for key, value in router["sysctls"].items():
            set_sysctl(key, value)
    return ip, bridge


def open_router(router):
    with Inside(router["name"]) as ip:
        return ip, ip.link_lookup(ifname="br0")[0]


def make_workload(router, ip, bridge, workload):
    with Inside(workload["name"], new=True) as own:
        pass
    peer = {"ifname": "eth0", "net_ns_fd": path_of(workload["name"])}
    ip.link("add", ifname=workload["port"], kind="veth", master=bridge, peer=peer)
    port = ip.link_lookup(ifname=workload["port"])[0]
    ip.brport("set", index=port, isolated=1)
    ip.link("set", index=port, state="up")
    eth0 = own.link_lookup(ifname="eth0")[0]
    own.link("set", index=1, state="up")
    own.link("set", index=eth0, state="up")
    own.addr("add", index=eth0, address=workload["ip"], prefixlen=router["prefix"])
    own.route("add", dst="default", gateway=router["gateway"])
    own.close()


def drop(name):
    checked(libc.umount2(path_of(name).encode(), MNT_DETACH), name)
    os.unlink(path_of(name))


with open(sys.argv[1]) as file:
    plan = json.load(file)
opening = time.monotonic_ns()
for router in plan["routers"]:
    ip, bridge = make_router(router) if router["new"] else open_router(router)
    for workload in router["workloads"]:
        make_workload(router, ip, bridge, workload)
    with Inside(router["name"]) as other:
        other.close()
        subprocess.run(["nft", "-f", router["rules"]], check=True)
    ip.close()
for name in plan["drop"]:
    drop(name)
print(json.dumps({"opening": str(opening), "start": str(opening), "end": str(time.monotonic_ns())}))
