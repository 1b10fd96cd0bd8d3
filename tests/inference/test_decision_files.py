"""The tables that people write for a decision."""

import numpy as np
import pytest

from lift_jax.data import named_classes
from lift_jax.errors import UserError
from lift_jax.inference import decision_files as files

NAMES = ("great tit", "wren", "robin, European", "adder")


def written(folder, text: str, encoding: str = "utf-8") -> str:
    (folder / "table.csv").write_text(text, encoding=encoding)
    return str(folder / "table.csv")


class TestNames:
    def test_spellings_and_labels(self):
        assert named_classes.find(["Great_Tit", "wren"], NAMES, "it") == [0, 1]
        assert named_classes.find(["3", "0"], NAMES, "it") == [3, 0]
        assert named_classes.labels([2, 3], ("3", "2", "1", "0"), "it") == [2, 3]
        assert named_classes.find(["3", "2"], ("3", "2", "1", "0"), "it") == [0, 1]
        assert named_classes.find(["Polish", "polish"], ("polish", "Polish"), "it") == [1, 0]

    def test_unknown_names_with_their_nearest(self):
        with pytest.raises(UserError, match=r"'gret tit' \(the nearest is 'great tit'\), 'addr' \(.*'adder'\)"):
            named_classes.find(["gret tit", "wren", "addr"], NAMES, "it")

    def test_a_name_of_two_classes(self):
        with pytest.raises(UserError, match=r"'crane', which the classes with the labels 0, 1 have; write labels"):
            named_classes.find(["crane"], ("crane", "crane"), "it")
        assert named_classes.find(["1"], ("crane", "crane"), "it") == [1]

    def test_a_label_that_is_too_high(self):
        with pytest.raises(UserError, match="label 4; the labels of the run go from 0 to 3"):
            named_classes.labels([4], NAMES, "it")


class TestOnly:
    @pytest.mark.parametrize(
        "text",
        [
            "wren\nrobin, European\n",
            "class\nWren\n\nRobin, European\nwren\n",
            '"wren"\r\n"robin, European"\r\n',
            "class;common\nwren;yes\nrobin, European;no\n",
            "1\n2\n",
        ],
    )
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    def test_forms(self, tmp_path, text, encoding):
        assert files.read_only(written(tmp_path, text, encoding), NAMES) == [1, 2]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "table.csv.*(empty|names no class)"),
            ("class\n", "names no class"),
            ("wren\ncondor\n", "'condor' .the nearest"),
        ],
    )
    def test_what_is_no_list(self, tmp_path, text, words):
        with pytest.raises(UserError, match=words):
            files.read_only(written(tmp_path, text), NAMES)


class TestPrior:
    @pytest.mark.parametrize(
        "text",
        [
            'class,weight\nwren,1\ngreat tit,2\n"robin, European",0\nadder,0.5\n',
            "wren;1\ngreat tit;2\nrobin, European;0\nadder;0.5\n",
            "1\t1\n0\t2\n2\t0\n3\t5e-1\n",
        ],
    )
    def test_forms(self, tmp_path, text):
        np.testing.assert_array_equal(files.read_prior(written(tmp_path, text), NAMES), [2, 1, 0, 0.5])

    def test_classes_that_cannot_occur_need_no_weight(self, tmp_path):
        weights = files.read_prior(written(tmp_path, "wren,1\nadder,3\n"), NAMES, [1, 3])
        np.testing.assert_array_equal(weights, [np.nan, 1, np.nan, 3])

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("wren,1\n", "no weight for the class 'great tit' and 2 more"),
            ("wren,1\nWren,2\n", "line 2 has the class 'wren' a second time"),
            ("wren,-1\n", "line 1 has the weight '-1'"),
            ("wren,many\nadder,1\n", "line 1 has the weight 'many'"),
            ("wren,nan\n", "line 1 has the weight 'nan'"),
            ("class,weight\n", "has no rows"),
            ("wren\n", "line 1 has 1 columns, but 2 are needed"),
            ("great tit,0\nwren,0\nadder,0\n2,0\n", "'2' .the nearest"),
            ('great tit,0\nwren,0\nadder,0\n"robin, European",0\n', "no weight above 0"),
        ],
    )
    def test_what_is_no_prior(self, tmp_path, text, words):
        with pytest.raises(UserError, match=words):
            files.read_prior(written(tmp_path, text), NAMES)


class TestCosts:
    def test_pairs_that_are_not_there_cost_one(self, tmp_path):
        costs = files.read_costs(written(tmp_path, "class,answer,cost\nadder,wren,100\nwren,wren,0.5\n"), NAMES)
        expected = 1 - np.eye(4)
        expected[3, 1], expected[1, 1] = 100, 0.5
        np.testing.assert_array_equal(costs, expected)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("adder,wren,100\nadder,wren,10\n", "line 2 has the pair 'adder' and 'wren' a second time"),
            ("adder,wren\n", "line 1 has 2 columns, but 3 are needed"),
            ("adder,wren,dear\n", "line 1 has the cost 'dear'"),
        ],
    )
    def test_what_is_no_table_of_costs(self, tmp_path, text, words):
        with pytest.raises(UserError, match=words):
            files.read_costs(written(tmp_path, text), NAMES)


class TestRollup:
    TREE = (
        "species,genus,family\ngreat tit,Parus,Paridae\nwren,Troglodytes,Troglodytidae\n"
        '"robin, European",Erithacus,Muscicapidae\nadder,Vipera,Viperidae\n'
    )

    def test_the_ranks_and_their_members(self, tmp_path):
        text = "species;kind;realm\nwren;bird;animal\ngreat tit;bird;animal\nadder;snake;animal\n"
        text += "robin, European;bird;animal\n"
        ranks = files.read_rollup(written(tmp_path, text), NAMES).ranks
        assert [rank.name for rank in ranks] == ["species", "kind", "realm"]
        assert ranks[1].groups == ("bird", "snake") and ranks[1].members.tolist() == [0, 0, 0, 1]
        backwards = text.replace("bird;animal", "animal;bird").replace("snake;animal", "animal;snake")
        with pytest.raises(UserError, match=r"'animal' in more than one realm; .*from the most specific"):
            files.read_rollup(written(tmp_path, backwards), NAMES)

    def test_the_answer(self, tmp_path):
        rollup = files.read_rollup(written(tmp_path, self.TREE), NAMES, 0.6)
        assert rollup(np.array([[0.7, 0.1, 0.1, 0.1]]))[0][:2] == ("species", "great tit")

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("Erithacus", "Parus", "genus 'Parus' in more than one family"),
            ("Vipera,", ",", "line 5 has no group in some rank"),
            ("adder,Vipera,Viperidae\n", "", "no line for the class 'adder'"),
            ("adder", "wren", "line 5 has the class 'wren' a second time"),
            ("adder", "addr", "'addr' .the nearest is 'adder'"),
        ],
    )
    def test_what_is_no_taxonomy(self, tmp_path, old, new, words):
        with pytest.raises(UserError, match=words):
            files.read_rollup(written(tmp_path, self.TREE.replace(old, new)), NAMES)

    def test_a_list_is_no_taxonomy(self, tmp_path):
        with pytest.raises(UserError, match="is no taxonomy; write the columns"):
            files.read_rollup(written(tmp_path, "great tit\nwren\n"), NAMES)
