"""The shared listening socket."""

import socket

import pytest

from durable.service.errors import ServiceError
from durable.service.listener import adopt_listener, open_listener


def test_it_listens_and_can_be_adopted_by_descriptor() -> None:
    with open_listener("127.0.0.1", 0) as listener:
        adopted = adopt_listener(listener.fileno())
        assert adopted.getsockname() == listener.getsockname()
        with socket.create_connection(listener.getsockname(), timeout=5):
            pass
        adopted.detach()


def test_an_address_in_use_is_one_clear_line() -> None:
    with open_listener("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ServiceError, match=f"^Port {port} on 127.0.0.1 is already in use"):
            open_listener("127.0.0.1", port)


def test_a_host_that_is_not_here_is_one_clear_line() -> None:
    with pytest.raises(ServiceError, match=r"^Cannot listen on 192\.0\.2\.1:8000"):
        open_listener("192.0.2.1", 8000)
    with pytest.raises(ServiceError, match=r"^Cannot listen on no such host:8000"):
        open_listener("no such host", 8000)


def test_what_is_no_port_or_no_name_is_one_clear_line() -> None:
    with pytest.raises(ServiceError, match=r"^70000 is not a port"):
        open_listener("127.0.0.1", 70000)
    with pytest.raises(ServiceError, match=r"^Cannot listen on a\.\.b:0: this is not the name of a host"):
        open_listener("a..b", 0)


def test_what_is_not_a_listening_socket_is_refused() -> None:
    with socket.socket() as other, pytest.raises(ServiceError, match="not a listening socket"):
        adopt_listener(other.fileno())
    with pytest.raises(ServiceError, match="is not a socket"):
        adopt_listener(12345)
