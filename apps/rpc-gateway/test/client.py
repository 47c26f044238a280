"""Speaks to the gateway as a Python client does: definitions compiled from our .proto files in argv[1]."""

import json
import sys
import threading

sys.path.insert(0, sys.argv[1])

import grpc
from google.protobuf import empty_pb2
from hydrosphere import predict_pb2, tensor_pb2
from invocation.v1 import invocation_pb2, invocation_pb2_grpc
from model.v1 import model_pb2
from services import (
    health_pb2,
    health_pb2_grpc,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
    reflection_v1_pb2,
    reflection_v1_pb2_grpc,
    reflection_v1alpha_pb2,
    reflection_v1alpha_pb2_grpc,
)

channel = grpc.insecure_channel(sys.argv[2])


def predict(values, name="echo", **how):
    shape = tensor_pb2.TensorShapeProto(dim=[tensor_pb2.TensorShapeProto.Dim(size=len(values))])
    tensor = tensor_pb2.TensorProto(
        dtype=tensor_pb2.DT_DOUBLE, tensor_shape=shape, double_val=values
    )
    request = predict_pb2.PredictRequest(
        model_spec=predict_pb2.ModelSpec(name=name), inputs={"x": tensor}
    )
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    answer = stub.Predict(request, timeout=10, **how)
    return list(answer.outputs["x"].double_val)


def invoke(content, name):
    metadata = [model_pb2.ModelInputMetadata(key="model", value=name)]
    answer = invocation_pb2_grpc.InvocationStub(channel).Invoke(
        invocation_pb2.InvocationRequest(
            model_input=model_pb2.ModelInput(id=-7, content=content, metadata=metadata)
        ),
        timeout=10,
    )
    return [answer.status, answer.message]


def code_of(act):
    try:
        act()
        return "OK"
    except grpc.RpcError as error:
        return error.code().name


def reflect(module, stub):
    ask = module.ServerReflectionRequest
    answers = list(
        stub.ServerReflectionInfo(
            iter(
                [
                    ask(list_services=""),
                    ask(file_containing_symbol="tensorflow.serving.PredictionService"),
                    ask(file_by_filename="hydrosphere/tensor.proto"),
                    ask(file_containing_symbol="no.such.Symbol"),
                ]
            ),
            timeout=10,
        )
    )
    return {
        "services": [one.name for one in answers[0].list_services_response.service],
        "files": [len(one.file_descriptor_response.file_descriptor_proto) for one in answers[1:3]],
        "error": answers[3].error_response.error_code,
    }


health = health_pb2_grpc.HealthStub(channel)
check = lambda service: health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
watched = []
watch = health.Watch(health_pb2.HealthCheckRequest())
watched.append(next(watch).status)
status = prediction_service_pb2_grpc.PredictionServiceStub(channel).Status(
    empty_pb2.Empty(), timeout=10
)
watch.cancel()
parallel = []
threads = [
    threading.Thread(target=lambda n=n: parallel.append(predict([float(n)]) == [float(n)]))
    for n in range(16)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(
    json.dumps(
        {
            "predict": predict([1.5, -2.0]),
            "gzip": predict([1.0] * 1000, compression=grpc.Compression.Gzip) == [1.0] * 1000,
            "invoke": invoke('{"x": [0.5]}', "echo"),
            "invoke in vain": invoke("", "echo"),
            "unknown": code_of(lambda: predict([1.0], name="other")),
            "parallel": all(parallel) and len(parallel) == 16,
            "health": check("").status,
            "unknown service": code_of(lambda: check("other")),
            "watched": watched,
            "status": status.status,
            "v1": reflect(reflection_v1_pb2, reflection_v1_pb2_grpc.ServerReflectionStub(channel)),
            "v1alpha": reflect(
                reflection_v1alpha_pb2, reflection_v1alpha_pb2_grpc.ServerReflectionStub(channel)
            ),
        }
    )
)
