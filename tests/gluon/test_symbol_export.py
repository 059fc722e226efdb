import json

import mxnet as mx
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bnn_tvm.errors import InputError, ModelError
from bnn_tvm.gluon import nn, to_symbol
from bnn_tvm.gluon.baseline import MXNetModel

pytestmark = pytest.mark.filterwarnings("ignore:Cannot decide type")
X = np.random.default_rng(5).uniform(-1, 1, (3, 4, 6, 6)).astype(np.float32)


def network(in_channels=0):
    mx.random.seed(2)
    net = nn.HybridSequential(prefix="n_")
    with net.name_scope():
        net.add(
            nn.BatchNorm(in_channels=in_channels),
            nn.QActivation(),
            nn.QConv2D(8, 3, in_channels=in_channels),
            nn.Flatten(),
            nn.Dense(5, in_units=32 * 4 if in_channels else 0),
        )
    net.initialize()
    return net


@pytest.fixture
def saved(tmp_path):
    net = network()
    net.hybridize()
    expected = net(mx.nd.array(X)).asnumpy()
    net.export(str(tmp_path / "n"))
    return tmp_path / "n-symbol.json", tmp_path / "n-0000.params", expected


def test_to_symbol_equals_mxnets_export(saved):
    symbol_file, params_file, _ = saved
    symbol, parameters = to_symbol(network(), (1, 4, 6, 6))
    stored = mx.nd.load(str(params_file))
    assert json.loads(symbol)["nodes"] == json.loads(symbol_file.read_text())["nodes"]
    assert parameters.keys() == stored.keys()
    for name, values in parameters.items():
        assert_array_equal(values, stored[name].asnumpy())


def test_to_symbol_needs_no_shape_where_the_network_knows_its_own():
    symbol, parameters = to_symbol(network(in_channels=4))
    assert parameters["arg:n_qconv0_weight"].shape == (8, 4, 3, 3)
    assert parameters["aux:n_batchnorm0_running_var"].shape == (4,)
    assert '"36"' in symbol


def test_to_symbol_groups_several_outputs_and_names_several_inputs():
    class Add(mx.gluon.HybridBlock):
        def hybrid_forward(self, F, a, b):  # noqa: N803
            return a + b, a - b

    symbol, parameters = to_symbol(Add(), (1,), (1,))
    assert mx.sym.load_json(symbol).list_arguments() == ["data0", "data1"]
    assert len(json.loads(symbol)["heads"]) == 2
    assert parameters == {}


def test_to_symbol_takes_an_imported_network(saved):
    symbol_file, params_file, _ = saved
    imported = mx.gluon.SymbolBlock.imports(str(symbol_file), ["data"], str(params_file))
    expected = to_symbol(network(), (1, 4, 6, 6))
    symbol, parameters = to_symbol(imported)
    assert mx.sym.load_json(symbol).list_outputs() == mx.sym.load_json(expected[0]).list_outputs()
    assert parameters.keys() == expected[1].keys()


@pytest.mark.parametrize("shapes", [(), (None,)])
def test_to_symbol_without_any_shape_is_an_error(shapes):
    with pytest.raises(ModelError, match=r"has no shape yet.*Give the shape of each input"):
        to_symbol(network(), *shapes)


def test_to_symbol_with_a_wrong_shape_is_an_error():
    with pytest.raises(InputError, match=r"\(\(1, 4\),\) does not fit the network"):
        to_symbol(network(), (1, 4))


@pytest.mark.parametrize("in_units", [0, 3])
def test_to_symbol_of_an_uninitialized_network_is_an_error(in_units):
    with pytest.raises(ModelError, match=r"has no values\. Call net.initialize"):
        to_symbol(nn.QDense(2, in_units=in_units), (1, 3))


def test_mxnet_model_runs_an_export(saved):
    symbol_file, params_file, expected = saved
    assert_array_equal(MXNetModel(symbol_file, params_file)(X), expected)


def test_mxnet_model_gives_inner_values(saved):
    model = MXNetModel(*saved[:2])
    assert model.node_names("Convolution") == ["n_qconv0_fwd"]
    names = ["n_qconv0__divscalar0", "n_qactivation0__plus0"]
    assert set(names) < set(model.node_names())
    assert "n_qconv0_weight" not in model.node_names()
    values = model.internals(X, names)
    assert values[names[0]].shape == (3, 8, 4, 4)
    assert_array_equal(values[names[0]] % 1, 0)
    assert set(np.unique(values[names[1]])) == {-1, 1}
    assert_array_equal(model.internals(X, names[:1])[names[0]], values[names[0]])


def test_mxnet_model_gives_the_first_of_several_outputs(tmp_path):
    halves = mx.sym.split(mx.sym.var("data"), num_outputs=2, axis=1, name="halves")
    (halves[0] + halves[1]).save(str(tmp_path / "s.json"))
    mx.nd.save(str(tmp_path / "s.params"), {"arg:unused": mx.nd.zeros(1)})
    model = MXNetModel(tmp_path / "s.json", tmp_path / "s.params")
    assert_array_equal(model.internals(X, ["halves"])["halves"], X[:, :2])


def test_mxnet_model_names_an_unknown_node(saved):
    with pytest.raises(InputError, match="Node 'nope' is not in the model"):
        MXNetModel(*saved[:2]).internals(X, ["nope"])


def test_mxnet_model_refuses_damaged_or_missing_files(saved, tmp_path):
    symbol_file, params_file, _ = saved
    broken = tmp_path / "broken"
    broken.write_bytes(params_file.read_bytes()[:300])
    with pytest.raises(ModelError, match="does not exist"):
        MXNetModel(symbol_file, tmp_path / "none.params")
    with pytest.raises(ModelError, match="Invalid NDArray file format"):
        MXNetModel(symbol_file, broken)
    with pytest.raises(ModelError, match="cannot be run by MXNet"):
        MXNetModel(broken, params_file)


def test_mxnet_model_refuses_parameters_of_another_network(saved, tmp_path):
    mx.nd.save(str(tmp_path / "other.params"), {"arg:x": mx.nd.zeros(1)})
    with pytest.raises(ModelError, match="'n_batchnorm0_gamma' is missing"):
        MXNetModel(saved[0], tmp_path / "other.params")
