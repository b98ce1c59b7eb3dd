"""How a collective is carried out: the only place that calls MPI's communication.

`channel`      the private communicators of one communicator, and whose turn it is
`waiting`      the one loop in which a rank waits
`agreement`    the exchange in which the ranks agree on a call before data moves
`operations`   reductions as MPI operations and datatypes
`mpi`          what MPI is asked to move, for each collective
`requests`     calls in flight: blocking, non-blocking, persistent
"""
