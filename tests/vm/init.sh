#!/bin/busybox sh
# The first program of the virtual machine: puts the host's files below a layer of memory, mounts
# control groups, and runs the command. `/job` was made for this run: what to run, and how.
PATH=/bin
say() { echo "vm: $*" >/dev/console; }
# When this program exits, the kernel stops the machine.
fail() { say "$*"; exit 1; }
busybox mkdir -p /proc /sys /dev /lower /layer /system
busybox mount -t proc proc /proc && busybox --install -s /bin || fail "no /proc"
# Names without a path are busybox's own from here on.
mount -t sysfs sys /sys && mount -t devtmpfs dev /dev || fail "no /sys or /dev"
for module in $(cat /modules/order); do
    insmod "/modules/$module" || fail "the module $module cannot be loaded"
done

# The device of the share appears a moment after its driver.
tries=0
until mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=loose,ro host /lower 2>/dev/null; do
    tries=$((tries + 1))
    [ $tries -lt 50 ] || fail "the host's files cannot be mounted"
    usleep 100000
done
mount -t tmpfs -o mode=755 layer /layer && mkdir /layer/upper /layer/work || fail "no layer of memory"
mount -t overlay -o lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work files /system ||
    fail "the layer of memory cannot be put over the host's files"

mkdir -p /system/dev /system/proc /system/sys /system/vm || fail "the layer of memory cannot be written"
for each in dev proc sys; do mount --move /$each /system/$each || fail "/$each cannot be moved"; done
mkdir -p /system/dev/pts /system/dev/shm
mount -t devpts -o mode=620,ptmxmode=666 pts /system/dev/pts || fail "no /dev/pts"
ln -sf pts/ptmx /system/dev/ptmx
ln -sf /proc/self/fd /system/dev/fd
mount -t tmpfs shm /system/dev/shm && mount -t tmpfs -o mode=755 vm /system/vm || fail "no memory to write to"
mkdir -m 1777 /system/vm/tmp
mount -t securityfs security /system/sys/kernel/security

groups=/system/sys/fs/cgroup
one_by_one() {
    mount -t tmpfs -o mode=755 groups $groups || fail "no room for control groups"
    while read -r controller _ _ enabled; do
        [ "$enabled" = 1 ] || continue
        mkdir "$groups/$controller"
        mount -t cgroup -o "$controller" cgroup "$groups/$controller" || fail "no control groups for $controller"
    done </system/proc/cgroups
}
case $(cat /job/cgroups) in
    v2) mount -t cgroup2 -o nsdelegate cgroup2 $groups || fail "no control groups of version 2" ;;
    v1) one_by_one ;;
    hybrid)
        one_by_one
        mkdir $groups/unified
        mount -t cgroup2 -o nsdelegate cgroup2 $groups/unified || fail "no control groups of version 2"
        ;;
    *) fail "unknown control groups: $(cat /job/cgroups)" ;;
esac
ip link set lo up

cp /bin/busybox /job/command /system/vm/ || fail "the command cannot be copied"
exec switch_root /system /vm/busybox sh -c '
    /vm/busybox sh /vm/command </dev/null >/dev/vport0p1 2>&1
    echo $? >/dev/vport0p2
    # What is left is the host'"'"'s, read only, and memory: nothing has to be written.
    /vm/busybox poweroff -f
'
