"""A runtime container as its maker would write it: Debian's grpcio on definitions compiled from our .proto files."""
import json
import os
import sys
import time
from concurrent import futures

import grpc

sys.path.insert(0, "/app/definitions")
from hydrosphere import contract_pb2, predict_pb2  # noqa: E402
from services import prediction_service_pb2 as service  # noqa: E402
from services import prediction_service_pb2_grpc as service_grpc  # noqa: E402


class Runtime(service_grpc.PredictionServiceServicer):
    """Gives back what it gets. `order`, where it comes along, is JSON: {"sleep_s", "code"}."""

    def Predict(self, request, context):
        order = json.loads(request.inputs["order"].string_val[0] or b"{}")
        time.sleep(order.get("sleep_s", 0))
        if "code" in order:
            code = next(one for one in grpc.StatusCode if one.value[0] == order["code"])
            context.abort(code, "the runtime was told so")
        answer = predict_pb2.PredictResponse()
        for name, tensor in request.inputs.items():
            answer.outputs[name].CopyFrom(tensor)
        return answer

    def Status(self, request, context):
        return service.StatusResponse(status=service.StatusResponse.SERVING)


contract = contract_pb2.ModelContract()
with open("/model/contract.protobin", "rb") as file:
    contract.ParseFromString(file.read())
print("serves", contract.model_name, [field.name for field in contract.predict.inputs], flush=True)
print("files", sorted(os.listdir("/model/files")), flush=True)

options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=options)
service_grpc.add_PredictionServiceServicer_to_server(Runtime(), server)
server.add_insecure_port(f"[::]:{os.environ.get('APP_PORT', '9090')}")
server.start()
server.wait_for_termination()
