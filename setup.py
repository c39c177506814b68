"""Packaging. The dependency lists are requirements/*.txt, and nowhere else."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def requirements(name: str) -> list[str]:
    """Return the lines of requirements/<name>.txt without comments and blank lines."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith('#')]


version: dict[str, str] = {}
exec((ROOT / 'mmpose_lite' / 'version.py').read_text(encoding='utf-8'), version)  # importing the package would need torch

optional, tests, lint = requirements('optional'), requirements('tests'), requirements('lint')

setup(
    name='mmpose_lite',
    version=version['__version__'],
    description='Pose estimation, detection and segmentation assembled from Python config files; installs from wheels alone.',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    classifiers=[
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    python_requires='>=3.10',
    install_requires=requirements('runtime'),
    extras_require={'optional': optional, 'tests': tests + optional, 'lint': lint, 'all': optional + tests + lint},
    # An installed package finds configs/ as mmpose_lite/configs; in a checkout they stand at the root.
    packages=[*find_packages(include=['mmpose_lite', 'mmpose_lite.*']), 'mmpose_lite.configs'],
    package_dir={'mmpose_lite.configs': 'configs'},
    package_data={'mmpose_lite': ['**/*.json'], 'mmpose_lite.configs': ['**/*.py', '**/*.json']},
)
