from pathlib import Path

import numpy as np
import pytest

from mmpose_lite.registry import DATASETS
from mmpose_lite.structures.voc_xml import read_voc
from tests.voc_folder import write_voc

CFG = dict(type='VOCDetectionDataset', ann_file='ImageSets/Main/test.txt', test_mode=True)


def test_objects_of_xml_files(tmp_path: Path) -> None:
    write_voc(tmp_path)
    data = DATASETS.build(dict(CFG, data_root=str(tmp_path)))
    assert [Path(item['img_path']).name for item in data] == ['000005.jpg', '000007.jpg', '2008_000009.jpg']
    assert all(Path(item['img_path']).is_file() for item in data)
    first = data[0]
    assert first['bboxes'].tolist() == [[10, 20, 50, 60], [0, 0, 20, 10], [59, 29, 79, 49]], 'edges, from 0'
    names = data.metainfo['class_meta'].classes
    assert [names[k] for k in first['labels']] == ['dog', 'cat', 'dog']
    assert first['is_ignored'].tolist() == [False, False, True], 'the difficult one'
    assert (first['width'], first['height']) == (90, 70)
    assert data[2]['bboxes'].shape == (0, 4)
    training = DATASETS.build(dict(CFG, data_root=str(tmp_path), test_mode=False))
    assert [item['img_id'] for item in training] == [1, 2]


def test_files_of_other_tools(tmp_path: Path) -> None:
    path = write_voc(tmp_path, {'my image 1': [('dog', (1, 1, 9, 9), 0)], 'b': [('dog', (1, 1, 9, 9), 1)], 'c': []})
    path.write_text('my image 1\nb -1\nc\n', encoding='utf-8-sig')
    xml = (tmp_path / 'Annotations' / 'b.xml').read_text().replace('<width>90<', '<width>90.0<')
    (tmp_path / 'Annotations' / 'b.xml').write_text(xml.replace('<annotation>', '<annotation><filename>b.PNG</filename>'))
    (tmp_path / 'Annotations' / 'c.xml').write_text('<annotation><filename>c.of.mine</filename><size/></annotation>')
    content = read_voc(path)
    assert [image['file_name'] for image in content['images']] == ['my image 1.jpg', 'b.PNG', 'c.jpg']
    assert [image.get('width') for image in content['images']] == [90, 90, None]
    assert [a['ignore'] for a in content['annotations']] == [0, 1]


def test_a_list_may_be_a_link(tmp_path: Path) -> None:
    path = write_voc(tmp_path)
    path.rename(tmp_path / 'mine.txt')
    path.symlink_to(tmp_path / 'mine.txt')
    assert len(read_voc(path)['images']) == 3


def test_categories_are_the_twenty_and_others(tmp_path: Path) -> None:
    path = write_voc(tmp_path, {'1': [('head', (1, 1, 5, 5), 0), ('dog', (1, 1, 9.5, 9), 0)]})
    content = read_voc(path)
    assert [c['name'] for c in content['categories']][-2:] == ['tvmonitor', 'head']
    assert [a['category_id'] for a in content['annotations']] == [21, 12]
    assert content['annotations'][1]['bbox'] == [0, 0, 9.5, 9]
    assert content['annotations'][1]['area'] == pytest.approx(85.5)
    only = DATASETS.build(dict(CFG, data_root=str(tmp_path), meta=dict(classes=['head'])))
    np.testing.assert_array_equal(only[0]['bboxes'], [[0, 0, 5, 5]])


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('<annotation>', r'000007\.xml: no valid XML'),
        ('<a><object><name>dog</name></object></a>', r'000007\.xml, object 0: it has no `bndbox`'),
        (
            '<a><object><name>dog</name><bndbox><xmin>1</xmin></bndbox></object></a>',
            r'000007\.xml, object 0: `ymin` must be a number, got None',
        ),
        (
            '<a><object><name>dog</name><difficult>Unspecified</difficult><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax>'
            '<ymax>5</ymax></bndbox></object></a>',
            r"000007\.xml, object 0: `difficult` must be a number, got 'Unspecified'",
        ),
        (
            '<a><object><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object></a>',
            r'object 0: it has no `name`',
        ),
    ],
)
def test_faulty_files_are_named(text: str, message: str, tmp_path: Path) -> None:
    path = write_voc(tmp_path)
    (tmp_path / 'Annotations' / '000007.xml').write_text(text)
    with pytest.raises(ValueError, match=message):
        read_voc(path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    path = write_voc(tmp_path)
    (tmp_path / 'Annotations' / '000007.xml').unlink()
    with pytest.raises(FileNotFoundError, match=r'000007\.xml does not exist, but .*test\.txt names it'):
        read_voc(path)
    path.write_text('\n')
    with pytest.raises(ValueError, match='names no image'):
        read_voc(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r'the list .*test\.txt. \(`ann_file` under `data_root`\) does not exist'):
        read_voc(path)
