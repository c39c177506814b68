"""Draw some synthetic people and write them as data/csv_people/{train,val}.csv, the format of CsvKeypointDataset."""

import csv
import json
from pathlib import Path

from mmpose_lite.datasets.synthetic import render_people


def main() -> None:
    folder = render_people(Path('data/csv_people'), num_train=200, num_val=40)
    for split in ('train', 'val'):
        content = json.loads((folder / f'annotations/person_keypoints_{split}.json').read_text())
        names = {image['id']: f'{split}/{image["file_name"]}' for image in content['images']}
        with (folder / f'{split}.csv').open('w', newline='') as file:
            for person in content['annotations']:
                x, y, w, h = person['bbox']
                if person['num_keypoints']:
                    csv.writer(file).writerow([names[person['image_id']], x, y, x + w, y + h, *person['keypoints']])


if __name__ == '__main__':
    main()
