"""Events as log records of OpenTelemetry, exported over OTLP/HTTP in batches."""

import program
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor


def begin(origin):
    provider = LoggerProvider()
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(endpoint=f"{origin}/v1/logs")))
    logger = provider.get_logger("benchmark")

    def emit(details):
        logger.emit(severity_number=SeverityNumber.INFO, event_name="PING", attributes=details)

    return emit, provider.shutdown


if __name__ == "__main__":
    program.main(begin)
