"""The variables that tell the servers of the comparison what to do."""

MODEL = "NUMDRAW_BENCH_ONNX"  # the file with the network, for ONNX Runtime
UNREAD = "NUMDRAW_BENCH_UNREAD"  # if not empty: answer the same to all drawings, reading none
