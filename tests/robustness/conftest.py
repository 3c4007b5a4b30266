import pytest


@pytest.fixture
def still_serving(client, picture):
    """Check after the test that the server answers as before."""
    yield
    assert client.explain(picture, model="cnn").heatmap.shape == (32, 32)
