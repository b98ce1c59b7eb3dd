#!/usr/bin/env bash
# A Slurm cluster of four nodes on this machine, for tests and for trying job scripts:
#
#   slurm/cluster.sh up [FOLDER]       start it, or what of it is not running; prints the variable to export
#   slurm/cluster.sh status [FOLDER]   what runs, and Slurm's view of it
#   slurm/cluster.sh down [FOLDER]     cancel all jobs and stop it; nothing is left running
#
# It needs root and Debian's packages (see PACKAGES). Configuration, logs and the jobs' state are in the folder,
# /tmp/dcomp-slurm if none is given. `down` keeps it, and `up` begins it anew.
#
# Each node is a process with namespaces of its own, so it has its own host name, process numbers, /dev/shm and $TMPDIR,
# and no process outlives it. Other files are common to all. `kill -9 $(cat FOLDER/n3.pid)` is what a power cut is to node n3.

set -u
PACKAGES="slurmctld slurmd slurm-client munge libpmix2"
NODES="n1 n2 n3 n4"
CPUS=16                                 # that each node claims to have, whatever the machine has
ROOM=$(realpath -m "${2:-/tmp/dcomp-slurm}")
SECONDS_TO_START=30
PMIX=/usr/lib/$(uname -m)-linux-gnu/pmix2/lib
export SLURM_CONF=$ROOM/slurm.conf PATH=$PATH:/usr/sbin

fail() {
    echo "cluster.sh: $*" >&2
    exit 1
}

check() {
    [[ $ROOM =~ ^[[:alnum:]/._-]+$ ]] || fail "Slurm takes no folder with such characters: $ROOM"
    local missing=""
    for program in munged slurmctld slurmd sbatch unshare; do
        command -v "$program" >/dev/null || missing="$missing $program"
    done
    [ -z "$missing" ] || fail "not installed:$missing. On Debian: apt-get install --no-install-recommends $PACKAGES"
    local told
    told=$(unshare --uts --mount --pid --ipc --fork hostname n1 2>&1) || fail "no namespaces here: $told"
    [ ! -e "$ROOM" ] || grep -qs '^ClusterName=dcomp$' "$SLURM_CONF" || fail "$ROOM is there and is no cluster's folder"
}

# The number of a machine's first process, if it runs.
running() {
    local pid
    pid=$(cat "$ROOM/$1.pid" 2>/dev/null) || return 1
    # Not another process that has got the number since.
    grep -qzx "MACHINE=$ROOM/$1" "/proc/$pid/environ" 2>/dev/null && echo "$pid"
}

# A machine: its name, and the command that it runs. Its first process collects those whose parents have ended, which
# Slurm would take for living ones.
start() {
    local name=$1
    shift
    rm -f "$ROOM/$name.pid"
    # shellcheck disable=SC2016
    MACHINE=$ROOM/$name PMIX=$PMIX setsid unshare --uts --mount --pid --ipc --fork bash -c '
        read -r pid rest </proc/self/stat && hostname "${MACHINE##*/}" &&
            mount --bind "${MACHINE%/*}/hosts" /etc/hosts &&
            mount -t proc proc /proc && mount -t tmpfs tmpfs /dev/shm &&
            mount -t tmpfs tmpfs "${MACHINE%/*}/scratch" || exit
        [ ! -d "$PMIX" ] || mount --bind "${MACHINE%/*}/pmix" "$PMIX" || exit
        echo "$pid" >"$MACHINE.pid"
        "$@" &
        wait' bash "$@" </dev/null >>"$ROOM/$name.out" 2>&1 9<&- &
    wait_for "machine $name" running "$name" >/dev/null
}

# Numbers of ports that no one listens on, below those that the kernel gives away.
free_ports() {
    local port ports=" "
    while [ "$(wc -w <<<"$ports")" -lt "$1" ]; do
        port=$((20000 + RANDOM % 12000))
        [[ $ports == *" $port "* ]] || (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || ports="$ports$port "
    done
    echo "$ports"
}

configure() {
    mkdir -p "$ROOM/state" "$ROOM/pmix" "$ROOM/scratch"
    # Process numbers begin anew with each node, so what an MPI has left in a common folder would be another's.
    printf '#!/bin/sh\necho "export TMPDIR=%s/scratch"\n' "$ROOM" >"$ROOM/prolog" && chmod 755 "$ROOM/prolog"
    head -c 128 /dev/urandom >"$ROOM/key" && chmod 400 "$ROOM/key"
    # `srun --mpi=pmix` loads PMIx by a name that only Debian's development package has.
    [ ! -d "$PMIX" ] || { cp -a "$PMIX/." "$ROOM/pmix" && ln -sf libpmix.so.2 "$ROOM/pmix/libpmix.so"; }
    { cat /etc/hosts && for name in head $NODES; do echo "127.0.0.1 $name"; done; } >"$ROOM/hosts"
    local ports
    read -ra ports <<<"$(free_ports 5)"
    cat >"$SLURM_CONF" <<CONF
ClusterName=dcomp
SlurmctldHost=head(127.0.0.1)
SlurmctldPort=${ports[0]}
SlurmUser=root
AuthInfo=socket=$ROOM/munge.sock,cred_expire=5
StateSaveLocation=$ROOM/state
SlurmdSpoolDir=$ROOM/spool-%n
TmpFS=$ROOM/tmp-%n
SlurmctldPidFile=$ROOM/slurmctld.pid
SlurmdPidFile=$ROOM/slurmd-%n.pid
SlurmctldLogFile=$ROOM/slurmctld.log
SlurmdLogFile=$ROOM/slurmd-%n.log
# Of a machine without control groups, which has fewer CPUs than all nodes claim.
ProctrackType=proctrack/linuxproc
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
TaskProlog=$ROOM/prolog
# Tests do not wait long: for a dead node, for the end of a job, for the scheduler.
SlurmdTimeout=10
ReturnToService=2
KillWait=5
MinJobAge=600
SchedulerParameters=batch_sched_delay=0,sched_interval=5,sched_min_interval=100000
# Jobs of the partition "spare" make room for those of "main", and are told so.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=ALL Default=YES PriorityTier=2
PartitionName=spare Nodes=ALL PriorityTier=1 GraceTime=60
SlurmctldParameters=preempt_send_user_signal
CONF
    local number=1
    for node in $NODES; do
        mkdir -p "$ROOM/tmp-$node" "$ROOM/spool-$node"
        echo "NodeName=$node NodeAddr=127.0.0.1 Port=${ports[$number]} CPUs=$CPUS" >>"$SLURM_CONF"
        number=$((number + 1))
    done
}

# Wait until a command is true; $1: what for.
wait_for() {
    local what=$1 deadline=$((SECONDS + SECONDS_TO_START))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || give_up "no $what after $SECONDS_TO_START s"
        sleep 0.05
    done
}

give_up() {
    tail -n 5 "$ROOM"/*.out "$ROOM"/*.log >&2
    fail "$*; the logs are in $ROOM"
}

has_socket() { [ -S "$ROOM/munge.sock" ]; }

all_up() {
    for name in head $NODES; do
        running "$name" >/dev/null || give_up "$name has ended"
    done
    [ "$(sinfo -hN -p main -o %T 2>/dev/null | grep -cE '^(idle|mixed|allocated|completing)$')" = 4 ]
}

up() {
    if ! running head >/dev/null; then
        down
        rm -rf "$ROOM"
        mkdir -p "$ROOM" && chmod 755 "$ROOM"
        configure
        # shellcheck disable=SC2016
        start head sh -c 'munged --foreground --force --socket="$0/munge.sock" --key-file="$0/key" \
            --pid-file="$0/munged.pid" --log-file="$0/munged.log" --seed-file="$0/seed" & exec slurmctld -D' "$ROOM"
        wait_for "munge" has_socket
    fi
    for node in $NODES; do
        if ! running "$node" >/dev/null; then
            rm -rf "${ROOM:?}/tmp-$node/"*     # sockets of steps that ended with the node
            start "$node" slurmd -D -N "$node"
        fi
    done
    wait_for "four nodes" all_up
    echo "export SLURM_CONF=$SLURM_CONF"
}

gone() { ! running "$1" >/dev/null; }

down() {
    if running head >/dev/null; then
        # So that launchers end their ranks, and remove their files.
        timeout 10 scancel --user="$(id -un)" --quiet
        # shellcheck disable=SC2016
        timeout 10 sh -c 'while [ -n "$(squeue -h)" ]; do sleep 0.1; done'
    fi
    local pid
    for name in $NODES head; do
        pid=$(running "$name") && kill -9 "$pid"
        wait_for "end of $name" gone "$name"
        rm -f "$ROOM/$name.pid"
    done
}

status() {
    for name in head $NODES; do
        if pid=$(running "$name"); then echo "$name runs: $pid"; else echo "$name does not run"; fi
    done
    running head >/dev/null || return 1
    sinfo && squeue
}

case "${1-}" in
up | down | status)
    [ "$(id -u)" = 0 ] || fail "needs root, for nodes with host names of their own"
    [ "$1" != up ] || { check && mkdir -p "${ROOM%/*}/"; }
    # One at a time: of two that start the same machine, one would never be found again.
    { exec 9<"${ROOM%/*}/"; } 2>/dev/null && flock 9
    "$1"
    ;;
*) fail "use: $0 up | down | status [FOLDER]" ;;
esac
