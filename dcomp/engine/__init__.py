"""How a collective is carried out: the only place that calls MPI's communication.

`channel`      the private communicators of one communicator, and whose turn it is
`waiting`      the one loop in which a rank waits
`agreement`    the exchange in which the ranks agree on a call before data moves
`operations`   reductions as MPI operations, elements as MPI datatypes
`mpi`          what MPI is asked to move, for each collective; `pieces` where its counts are too small
`messages`     from rank to rank
`progress`     what moves non-blocking calls on
`requests`     calls in flight: blocking and non-blocking; `plans` persistent
"""
